// Kernels that only test `cuda.h` and `device.cuh`.

template <typename T> __device__ void convert(const float *in, T *out, float *back, i64 n) {
    for (i64 k = blockIdx.x * (i64)blockDim.x + threadIdx.x; k < n; k += (i64)gridDim.x * blockDim.x) {
        out[k] = from_float<T>(in[k]);
        back[k] = to_float(out[k]);
    }
}

extern "C" __global__ void convert_half(const float *in, Half *out, float *back, i64 n) { convert(in, out, back, n); }

extern "C" __global__ void convert_bfloat16(const float *in, Bfloat16 *out, float *back, i64 n) { convert(in, out, back, n); }

// The sum of each block's 128 values, by shuffles within warps and shared memory between them; and each warp's votes.
extern "C" __global__ void __launch_bounds__(128) block_sums(const float *in, float *sums, unsigned *votes, float *total) {
    __shared__ float partial[4];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float value = in[blockIdx.x * 128 + threadIdx.x];
    const unsigned vote = __ballot_sync(0xffffffffu, value > 0);
    if (lane == 0) votes[blockIdx.x * 4 + warp] = vote;
    for (int by = 16; by; by /= 2) value += __shfl_down_sync(0xffffffffu, value, by);
    if (lane == 0) partial[warp] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        const float sum = partial[0] + partial[1] + partial[2] + partial[3];
        sums[blockIdx.x] = sum;
        atomicAdd(total, sum);
        atomic_add4(total + 4, sum, 1, 2, 3);
    }
}

// Adds one to the count of each key, once per group of equal keys in a warp.
extern "C" __global__ void count_keys(const int *keys, int *counts, i64 n) {
    const i64 k = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    const int key = k < n ? keys[k] : -1;
    const unsigned same = __match_any_sync(0xffffffffu, key);
    if (key >= 0 && __ffs(same) - 1 == (int)(threadIdx.x % 32)) atomicAdd(counts + key, __popc(same));
}

extern "C" __global__ void wait_in_vain(i64 n) {
    if ((i64)threadIdx.x < n) __syncwarp(0xffffffffu);
    else __syncthreads();
}
