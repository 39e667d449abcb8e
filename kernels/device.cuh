// What every kernel of this folder may use, without any header of CUDA: NVRTC needs no include path, and a C++ compiler that
// includes the tests' `cuda_on_cpu/cuda.h` first (it defines TETRAVIEW_HOST) compiles the same sources for the CPU.
//
// Conventions: kernels are `extern "C"`, their launches one-dimensional, their integers `long long`. Indices are computed in 64 bits
// where they may exceed 2^31. A float is compared before it is converted to an integer: what becomes of NaN differs by machine.
#pragma once

#ifndef TETRAVIEW_HOST
#ifdef __CUDA_ARCH__
#define TETRAVIEW_ARCH __CUDA_ARCH__
#endif
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#endif
#ifndef TETRAVIEW_ARCH
#define TETRAVIEW_ARCH 0
#endif

typedef long long i64;

// ---- storage: float, Half or Bfloat16 in memory, float in registers

struct Half {
    uint16_t bits;
};
struct Bfloat16 {
    uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }

__device__ __forceinline__ float to_float(Half x) {
#ifdef TETRAVIEW_HOST
    return half_bits_to_float(x.bits);
#else
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}

__device__ __forceinline__ float to_float(Bfloat16 x) { return __uint_as_float((uint32_t)x.bits << 16); }

template <typename T> __device__ __forceinline__ T from_float(float x);

template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }

template <> __device__ __forceinline__ Half from_float<Half>(float x) {
#ifdef TETRAVIEW_HOST
    return Half{float_to_half_bits(x)};
#else
    Half y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
#endif
}

template <> __device__ __forceinline__ Bfloat16 from_float<Bfloat16>(float x) {
    const uint32_t bits = __float_as_uint(x);
    if (x != x) return Bfloat16{(uint16_t)(bits >> 16 | 0x40)};                   // a quiet NaN stays one
    return Bfloat16{(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};  // to nearest, ties to even
}

// ---- vectors of N values of storage T, N * sizeof(T) in 2, 4, 8, 16: one load or store

template <typename T, int N> struct alignas(N * sizeof(T)) Pack {
    T value[N];
};

// ---- atomics on gradients

// Adds four floats at a 16-byte aligned address: one instruction from sm_90 on.
__device__ __forceinline__ void atomic_add4(float *address, float a, float b, float c, float d) {
#if !defined(TETRAVIEW_HOST) && TETRAVIEW_ARCH >= 900
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(address), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
#else
    atomicAdd(address, a);
    atomicAdd(address + 1, b);
    atomicAdd(address + 2, c);
    atomicAdd(address + 3, d);
#endif
}
