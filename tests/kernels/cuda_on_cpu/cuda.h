// Enough of CUDA to run the kernels' own sources on a CPU, compiled as C++20.
//
// A thread of a kernel is a fiber; a block's fibers take turns on one thread of the system, in an order that differs by block and
// seed, and blocks are spread over several of those, so that atomics are real ones. `__syncthreads` and the warp functions end a
// fiber's turn until those they wait for have come; fibers that wait for each other in vain are reported, not left hanging.
#pragma once
#define TETRAVIEW_HOST 1

#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static thread_local  // a block never shares its system thread with another at the same time

using std::max;
using std::min;

struct Dim3 {
    unsigned x = 0, y = 1, z = 1;
};
struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct double3 { double x, y, z; };
struct alignas(8) int2 { int x, y; };
struct int3 { int x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double3 make_double3(double x, double y, double z) { return {x, y, z}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

namespace cuda_on_cpu {

constexpr int WARP = 32;
constexpr size_t STACK_BYTES = 128 * 1024;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state = State::ready;
    unsigned index = 0;
    unsigned mask = 0;  // whom it waits for in its warp
    uint64_t given = 0; // what it brought to the warp's exchange
};

struct Block {
    ucontext_t scheduler;
    std::vector<Fiber> fibers;
    Fiber *running = nullptr;
    const std::function<void()> *body = nullptr;
    Dim3 block_idx, block_dim, grid_dim, thread_idx;
};

inline thread_local Block *block = nullptr;

[[noreturn]] inline void fail(const char *what) {
    std::fprintf(stderr, "cuda_on_cpu: %s\n", what);
    std::abort();
}

inline void yield(State state) {
    Fiber *fiber = block->running;
    fiber->state = state;
    swapcontext(&fiber->context, &block->scheduler);
}

inline void enter() {
    (*block->body)();
    block->running->state = State::done;
    swapcontext(&block->running->context, &block->scheduler);
}

inline void resume(Fiber &fiber) {
    block->running = &fiber;
    block->thread_idx = {fiber.index, 0, 0};
    swapcontext(&block->scheduler, &fiber.context);
}

// Release those whose barrier is complete; false if nobody could be.
inline bool release() {
    auto &fibers = block->fibers;
    bool any = false;
    bool everyone = true, waiting = false;
    for (auto &fiber : fibers) {
        everyone &= fiber.state == State::at_block_barrier || fiber.state == State::done;  // an exited thread has arrived
        waiting |= fiber.state == State::at_block_barrier;
    }
    if (everyone && waiting) {
        for (auto &fiber : fibers)
            if (fiber.state == State::at_block_barrier) fiber.state = State::ready;
        return true;
    }
    for (size_t first = 0; first < fibers.size(); first += WARP) {
        for (size_t k = first; k < std::min(first + WARP, fibers.size()); ++k) {
            if (fibers[k].state != State::at_warp_barrier) continue;
            const unsigned mask = fibers[k].mask;
            bool complete = true;
            for (int lane = 0; lane < WARP; ++lane) {
                if (!(mask >> lane & 1)) continue;
                if (first + lane >= fibers.size()) fail("a warp function's mask names lanes that the block does not have");
                const Fiber &other = fibers[first + lane];
                if (other.state == State::done) fail("a warp function's mask names a lane that has returned");
                complete &= other.state == State::at_warp_barrier && other.mask == mask;
            }
            if (!(mask >> (k - first) & 1)) fail("a warp function's mask leaves out its own lane");
            if (!complete) continue;
            for (int lane = 0; lane < WARP; ++lane)
                if (mask >> lane & 1) fibers[first + lane].state = State::ready;
            any = true;
        }
    }
    return any;
}

inline void run_block(Block &own, const std::function<void()> &body, bool fibers, unsigned seed) {
    block = &own;
    const unsigned n = own.block_dim.x;
    std::vector<unsigned> order(n);
    for (unsigned k = 0; k < n; ++k) order[k] = k;
    std::mt19937 random(seed ^ own.block_idx.x * 2654435761u);
    if (seed) std::shuffle(order.begin(), order.end(), random);
    if (!fibers) {
        for (unsigned k : order) {
            own.thread_idx = {k, 0, 0};
            body();
        }
        return;
    }
    own.body = &body;
    if (own.fibers.size() != n) own.fibers = std::vector<Fiber>(n);
    for (unsigned k = 0; k < n; ++k) {
        Fiber &fiber = own.fibers[k];
        if (!fiber.stack) fiber.stack = std::make_unique<char[]>(STACK_BYTES);
        fiber.index = k;
        fiber.state = State::ready;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK_BYTES;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    while (true) {
        bool ran = false, left = false;
        for (unsigned k : order) {
            Fiber &fiber = own.fibers[k];
            if (fiber.state == State::ready) resume(fiber), ran = true;
            left |= fiber.state != State::done;
        }
        if (!left) return;
        if (!release() && !ran) fail("deadlock: threads wait at barriers that will never be complete");
    }
}

inline void launch(long long grid, long long threads, bool fibers, unsigned seed, const std::function<void()> &body) {
    const unsigned workers = std::max(1u, std::min<unsigned>(4, (unsigned)grid));
    std::atomic<long long> next{0};
    auto work = [&] {
        Block own;
        own.block_dim = {(unsigned)threads, 1, 1};
        own.grid_dim = {(unsigned)grid, 1, 1};
        for (long long k = next++; k < grid; k = next++) {
            own.block_idx = {(unsigned)k, 0, 0};
            run_block(own, body, fibers, seed);
        }
    };
    std::vector<std::thread> pool;
    for (unsigned k = 0; k < workers; ++k) pool.emplace_back(work);
    for (auto &thread : pool) thread.join();
}

inline Fiber *warp_begin() { return &block->fibers[block->running->index / WARP * WARP]; }
inline unsigned lane() { return block->running->index % WARP; }

// Give a value, wait for all of `mask`, then let `look` read what the others gave before anyone goes on.
template <typename Look> inline auto exchange(unsigned mask, uint64_t value, Look look) {
    Fiber *self = block->running;
    self->mask = mask;
    self->given = value;
    yield(State::at_warp_barrier);
    auto result = look(warp_begin());
    self->mask = mask;
    yield(State::at_warp_barrier);
    return result;
}

template <typename T> inline uint64_t bits_of(T value) {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <typename T> inline T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

template <typename T> inline T shuffle(unsigned mask, T value, unsigned from) {
    return from_bits<T>(exchange(mask, bits_of(value), [&](Fiber *warp) {
        if (!(mask >> from & 1)) fail("a shuffle reads a lane outside of its mask");
        return warp[from].given;
    }));
}

template <typename T, typename Change> inline T atomic(T *address, Change change) {
    std::atomic_ref<T> place(*address);
    T old = place.load();
    while (!place.compare_exchange_weak(old, change(old))) {}
    return old;
}

}  // namespace cuda_on_cpu

#define threadIdx (cuda_on_cpu::block->thread_idx)
#define blockIdx (cuda_on_cpu::block->block_idx)
#define blockDim (cuda_on_cpu::block->block_dim)
#define gridDim (cuda_on_cpu::block->grid_dim)

// ---- barriers and warp functions; a width other than a whole warp is not supported

inline void __syncthreads() { cuda_on_cpu::yield(cuda_on_cpu::State::at_block_barrier); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    cuda_on_cpu::exchange(mask, 0, [](auto *) { return 0; });
}
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
template <typename T> T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    const unsigned lane = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, lane / width * width + (unsigned)from % width);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const unsigned lane = cuda_on_cpu::lane(), from = lane ^ bits;
    return cuda_on_cpu::shuffle(mask, value, from / width == lane / width ? from : lane);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = cuda_on_cpu::lane(), from = lane + by;
    return cuda_on_cpu::shuffle(mask, value, from / width == lane / width ? from : lane);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    const unsigned lane = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, lane % width >= by ? lane - by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return cuda_on_cpu::exchange(mask, predicate != 0, [&](auto *warp) {
        unsigned votes = 0;
        for (int k = 0; k < cuda_on_cpu::WARP; ++k)
            if (mask >> k & 1) votes |= (unsigned)warp[k].given << k;
        return votes;
    });
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }
template <typename T> unsigned __match_any_sync(unsigned mask, T value) {
    const uint64_t own = cuda_on_cpu::bits_of(value);
    return cuda_on_cpu::exchange(mask, own, [&](auto *warp) {
        unsigned same = 0;
        for (int k = 0; k < cuda_on_cpu::WARP; ++k)
            if ((mask >> k & 1) && warp[k].given == own) same |= 1u << k;
        return same;
    });
}

// ---- atomics, bits, loads

template <typename T, typename U> T atomicAdd(T *address, U value) {
    return cuda_on_cpu::atomic(address, [&](T old) { return old + (T)value; });
}
template <typename T, typename U> T atomicMin(T *address, U value) {
    return cuda_on_cpu::atomic(address, [&](T old) { return std::min(old, (T)value); });
}
template <typename T, typename U> T atomicMax(T *address, U value) {
    return cuda_on_cpu::atomic(address, [&](T old) { return std::max(old, (T)value); });
}
template <typename T, typename U> T atomicOr(T *address, U value) {
    return cuda_on_cpu::atomic(address, [&](T old) { return old | (T)value; });
}
template <typename T> T atomicExch(T *address, T value) {
    return cuda_on_cpu::atomic(address, [&](T) { return value; });
}
template <typename T> T atomicCAS(T *address, T expected, T value) {
    return cuda_on_cpu::atomic(address, [&](T old) { return old == expected ? value : old; });
}

template <typename T> T __ldg(const T *address) { return *address; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
inline int __ffsll(unsigned long long x) { return __builtin_ffsll((long long)x); }
inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
inline float __uint_as_float(unsigned x) { return cuda_on_cpu::from_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return (unsigned)cuda_on_cpu::bits_of(x); }
inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
inline float __int_as_float(int x) { return __uint_as_float((unsigned)x); }
inline double __longlong_as_double(long long x) { return cuda_on_cpu::from_bits<double>((uint64_t)x); }
inline float half_bits_to_float(uint16_t bits) {
    _Float16 value;
    std::memcpy(&value, &bits, 2);
    return (float)value;
}
inline uint16_t float_to_half_bits(float value) {
    const _Float16 half = (_Float16)value;
    uint16_t bits;
    std::memcpy(&bits, &half, 2);
    return bits;
}
