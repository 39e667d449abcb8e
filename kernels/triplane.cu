// Three axis-aligned planes sampled bilinearly at points, summed or side by side, and the gradient for the planes alone.
//
// Several lanes share a point, each with a vector of its channels; with planes channels-last a texel is then one coalesced read.
// A tap of weight zero is not read. Coordinates, weights and sums are float, whatever the storage.
//
// Macros, set by triplane.py:
//   STORAGE      float, Half or Bfloat16: planes, samples and their gradients
//   CHANNELS     channels of a plane
//   VECTOR       channels a lane reads at once, a divisor of CHANNELS: forward
//   GRAD_VECTOR  the same, 4 or 1: backward
//   CONCAT       0: samples of the three planes are summed; 1: they lie side by side
//   BATCHED      0: one object, batch_index is not read
//   INDEX        int, or i64 where an offset may exceed 2^31

typedef STORAGE T;
typedef INDEX Index;

constexpr int LANES = CHANNELS / VECTOR;
constexpr int GRAD_LANES = CHANNELS / GRAD_VECTOR;
constexpr int GRAD_ROW = CONCAT ? 3 * CHANNELS : CHANNELS;
constexpr int GRADS = CONCAT ? 3 : 1;
constexpr int OUTSIDE = -2;
static_assert(LANES * VECTOR == CHANNELS && GRAD_LANES * GRAD_VECTOR == CHANNELS, "a lane's channels divide the planes'");

typedef Pack<T, VECTOR> Texel;
typedef Pack<T, GRAD_VECTOR> Gradient;

// ---- loads and stores

// *address, or zeros without touching memory; a predicated load, so that those of all taps are on their way together.
template <typename P> __device__ __forceinline__ P load_if(bool wanted, const P *address) {
#ifdef TETRAVIEW_HOST
    return wanted ? *address : P{};
#else
    union {
        uint32_t word[4];
        uint16_t half;
        P value;
    } u;
    const int flag = wanted;
    if constexpr (sizeof(P) == 16) {
        asm("{\n\t.reg .pred p;\n\tsetp.ne.s32 p, %5, 0;\n\tmov.b32 %0, 0;\n\tmov.b32 %1, 0;\n\tmov.b32 %2, 0;\n\tmov.b32 %3, 0;\n\t"
            "@p ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];\n\t}"
            : "=r"(u.word[0]), "=r"(u.word[1]), "=r"(u.word[2]), "=r"(u.word[3])
            : "l"(address), "r"(flag));
    } else if constexpr (sizeof(P) == 8) {
        asm("{\n\t.reg .pred p;\n\tsetp.ne.s32 p, %3, 0;\n\tmov.b32 %0, 0;\n\tmov.b32 %1, 0;\n\t"
            "@p ld.global.nc.v2.b32 {%0, %1}, [%2];\n\t}"
            : "=r"(u.word[0]), "=r"(u.word[1])
            : "l"(address), "r"(flag));
    } else if constexpr (sizeof(P) == 4) {
        asm("{\n\t.reg .pred p;\n\tsetp.ne.s32 p, %2, 0;\n\tmov.b32 %0, 0;\n\t@p ld.global.nc.b32 %0, [%1];\n\t}"
            : "=r"(u.word[0])
            : "l"(address), "r"(flag));
    } else {
        static_assert(sizeof(P) == 2, "2, 4, 8 or 16 bytes");
        asm("{\n\t.reg .pred p;\n\tsetp.ne.s32 p, %2, 0;\n\tmov.b16 %0, 0;\n\t@p ld.global.nc.b16 %0, [%1];\n\t}"
            : "=h"(u.half)
            : "l"(address), "r"(flag));
    }
    return u.value;
#endif
}

// A store whose line may leave the L2 cache first: gigabytes of samples must not drive the planes out of it.
template <typename P> __device__ __forceinline__ void store_streaming(P *address, const P &value) {
#ifndef TETRAVIEW_HOST
    union {
        P value;
        uint32_t word[4];
    } u;
    u.value = value;
    if constexpr (sizeof(P) == 16) {
        asm volatile("st.global.cs.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(u.word[0]), "r"(u.word[1]), "r"(u.word[2]),
                     "r"(u.word[3]));
        return;
    } else if constexpr (sizeof(P) == 8) {
        asm volatile("st.global.cs.v2.b32 [%0], {%1, %2};" ::"l"(address), "r"(u.word[0]), "r"(u.word[1]));
        return;
    }
#endif
    *address = value;
}

// ---- where a point falls

// Two neighbouring texels of an axis and their weights; 0 for one outside of the plane, OUTSIDE if both are or p is not a number.
struct Place {
    int first;
    float weight[2];
};

__device__ __forceinline__ Place place_on(float p, int size) {
    const float x = fmaf(p + 1.0f, 0.5f * (float)size, -0.5f);
    if (!(x > -1.0f && x < (float)size)) return {OUTSIDE, {0.0f, 0.0f}};
    const float floor = floorf(x), weight = x - floor;
    const int first = (int)floor;
    return {first, {first >= 0 ? 1.0f - weight : 0.0f, first + 1 < size ? weight : 0.0f}};
}

// A point in the planes xy, xz, yz: the columns run along the first axis, the rows along the second.
struct Site {
    Place column[3], row[3];
};

__device__ __forceinline__ Site site_of(float x, float y, float z, int height, int width) {
    const Place x_column = place_on(x, width), z_row = place_on(z, height);
    return {{x_column, x_column, place_on(y, width)}, {place_on(y, height), z_row, z_row}};
}

// The object of a point; one that is not there gives -1.
__device__ __forceinline__ Index object_of(const i64 *batch_index, Index n, i64 batches) {
#if BATCHED
    const i64 object = batch_index[n];
    return object >= 0 && object < batches ? (Index)object : (Index)-1;
#else
    return 0;
#endif
}

// ---- forward

extern "C" __global__ void __launch_bounds__(256, 4)
triplane_forward(const T *__restrict__ planes, const i64 *__restrict__ batch_index, const float *__restrict__ points,
                 T *__restrict__ samples, i64 batches, i64 height, i64 width, i64 count) {
    const Index thread = (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x;
    const Index n = thread / LANES;
    if (n >= count) return;
    const int channel = (int)(thread % LANES) * VECTOR, columns = (int)width, rows = (int)height;
    const Index object = object_of(batch_index, n, batches);
    const Site site = site_of(points[3 * n], points[3 * n + 1], points[3 * n + 2], rows, columns);
    float sum[VECTOR] = {};
#pragma unroll
    for (int k = 0; k < 3; ++k) {
        const Place &column = site.column[k], &row = site.row[k];
        const T *first = planes + (((object * 3 + k) * rows + row.first) * columns + column.first) * CHANNELS + channel;
        Texel texel[4];
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const bool wanted = object >= 0 && column.weight[t % 2] * row.weight[t / 2] != 0.0f;
            texel[t] = load_if(wanted, (const Texel *)(first + ((i64)(t / 2) * columns + t % 2) * CHANNELS));
        }
#pragma unroll
        for (int t = 0; t < 4; ++t)
#pragma unroll
            for (int v = 0; v < VECTOR; ++v) sum[v] += column.weight[t % 2] * row.weight[t / 2] * to_float(texel[t].value[v]);
        if (CONCAT || k == 2) {
            Texel out;
#pragma unroll
            for (int v = 0; v < VECTOR; ++v) {
                out.value[v] = from_float<T>(sum[v]);
                sum[v] = 0.0f;
            }
            store_streaming((Texel *)(samples + (n * GRADS + (CONCAT ? k : 0)) * CHANNELS + channel), out);
        }
    }
}

// ---- backward, by atomics: sums of consecutive points gather in registers while they fall in the same texels

// The four texels of a plane that a lane group holds, and what they have gathered.
struct Window {
    Index origin;  // texels before the plane; -1: nothing held
    int column, row;
    float sum[4][GRAD_VECTOR];
};

struct Shape {
    float *gradient;  // at the lane's first channel
    int rows, columns;
};

__device__ __forceinline__ void flush(const Window &window, int tap, const Shape &shape) {
    const int column = window.column + tap % 2, row = window.row + tap / 2;
    if (window.origin < 0 || column < 0 || column >= shape.columns || row < 0 || row >= shape.rows) return;
    float *address = shape.gradient + (i64)(window.origin + (Index)row * shape.columns + column) * CHANNELS;
    const float(&sum)[GRAD_VECTOR] = window.sum[tap];
#if GRAD_VECTOR == 4
    atomic_add4(address, sum[0], sum[1], sum[2], sum[3]);
#else
    for (int v = 0; v < GRAD_VECTOR; ++v) atomicAdd(address + v, sum[v]);
#endif
}

// Put the window over other texels: those it leaves are added to memory, those it still covers (a step of one) are kept.
__device__ __forceinline__ void move_to(Window &window, Index origin, int column, int row, const Shape &shape) {
    const int dx = column - window.column, dy = row - window.row;
    const bool same = origin == window.origin;
    if (same && dx == 0 && dy == 0) return;
#pragma unroll
    for (int t = 0; t < 4; ++t) {
        const int x = t % 2 - dx, y = t / 2 - dy;
        if (!(same && x >= 0 && x <= 1 && y >= 0 && y <= 1)) flush(window, t, shape);
    }
    const bool columns_kept = same && dx >= -1 && dx <= 1, rows_kept = same && dy >= -1 && dy <= 1;
#pragma unroll
    for (int v = 0; v < GRAD_VECTOR; ++v) {
        float moved[4];
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const int other = t ^ 1;
            const float shifted = dx == (t % 2 ? -1 : 1) ? window.sum[other][v] : 0.0f;
            moved[t] = !columns_kept ? 0.0f : dx == 0 ? window.sum[t][v] : shifted;
        }
#pragma unroll
        for (int t = 0; t < 4; ++t) {
            const int other = t ^ 2;
            const float shifted = dy == (t / 2 ? -1 : 1) ? moved[other] : 0.0f;
            window.sum[t][v] = !rows_kept ? 0.0f : dy == 0 ? moved[t] : shifted;
        }
    }
    window.origin = origin;
    window.column = column;
    window.row = row;
}

// What a lane reads of one point.
struct Sample {
    float x, y, z;
    Index object;
    Gradient gradient[GRADS];
};

__device__ __forceinline__ Sample sample_at(Index n, int channel, const T *gradients, const i64 *batch_index, const float *points,
                                            i64 batches) {
    Sample sample;
    sample.x = points[3 * n];
    sample.y = points[3 * n + 1];
    sample.z = points[3 * n + 2];
    sample.object = object_of(batch_index, n, batches);
#pragma unroll
    for (int k = 0; k < GRADS; ++k) {
        const T *address = gradients + (n * GRADS + k) * CHANNELS + channel;
        sample.gradient[k] = load_if(true, (const Gradient *)address);
    }
    return sample;
}

// `plane_gradients`, float and zero before, gains the gradient. A lane group walks `run` consecutive points.
extern "C" __global__ void __launch_bounds__(128, 4)
triplane_backward_atomic(const T *__restrict__ gradients, const i64 *__restrict__ batch_index, const float *__restrict__ points,
                         float *plane_gradients, i64 batches, i64 height, i64 width, i64 count, i64 run) {
    const Index thread = (Index)blockIdx.x * (Index)blockDim.x + (Index)threadIdx.x;
    const i64 first = (i64)(thread / GRAD_LANES) * run;
    if (first >= count) return;
    const Index end = (Index)(first + run < count ? first + run : count);
    const int channel = (int)(thread % GRAD_LANES) * GRAD_VECTOR;
    const Shape shape = {plane_gradients + channel, (int)height, (int)width};
    Window window[3];
#pragma unroll
    for (int k = 0; k < 3; ++k) window[k] = {-1, 0, 0, {}};
    Sample next = sample_at((Index)first, channel, gradients, batch_index, points, batches);
    for (Index n = (Index)first; n < end; ++n) {
        const Sample sample = next;
        if (n + 1 < end) next = sample_at(n + 1, channel, gradients, batch_index, points, batches);  // under way while this one is added
        if (sample.object < 0) continue;
        const Site site = site_of(sample.x, sample.y, sample.z, shape.rows, shape.columns);
#pragma unroll
        for (int k = 0; k < 3; ++k) {
            const Place &column = site.column[k], &row = site.row[k];
            if (column.first == OUTSIDE || row.first == OUTSIDE) continue;
            const Index origin = (sample.object * 3 + k) * shape.rows * shape.columns;
            move_to(window[k], origin, column.first, row.first, shape);
#pragma unroll
            for (int t = 0; t < 4; ++t)
#pragma unroll
                for (int v = 0; v < GRAD_VECTOR; ++v)
                    window[k].sum[t][v] +=
                        column.weight[t % 2] * row.weight[t / 2] * to_float(sample.gradient[CONCAT ? k : 0].value[v]);
        }
    }
#pragma unroll
    for (int k = 0; k < 3; ++k)
#pragma unroll
        for (int t = 0; t < 4; ++t) flush(window[k], t, shape);
}

// ---- backward, sorted: a lane group owns a texel and sums, in a fixed order, the points of the four cells around it

// The cell between four texels, one more each way than texels: cells[plane, n]; points that read nothing get the number of cells.
extern "C" __global__ void triplane_cells(const i64 *__restrict__ batch_index, const float *__restrict__ points, int *__restrict__ cells,
                                          i64 batches, i64 height, i64 width, i64 count) {
    const i64 n = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= count) return;
    const i64 object = object_of(batch_index, (Index)n, batches);
    const Site site = site_of(points[3 * n], points[3 * n + 1], points[3 * n + 2], (int)height, (int)width);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
        const int column = site.column[k].first, row = site.row[k].first;
        const bool reads = object >= 0 && column != OUTSIDE && row != OUTSIDE;
        const i64 cell = reads ? (object * (height + 1) + row + 1) * (width + 1) + column + 1 : batches * (height + 1) * (width + 1);
        cells[k * count + n] = (int)cell;
    }
}

// `order` [3, count]: the points of each plane by cell; `start` [3, cells + 1]: where in it a cell's points begin.
extern "C" __global__ void __launch_bounds__(256, 3)
triplane_backward_sorted(const T *__restrict__ gradients, const float *__restrict__ points, const i64 *__restrict__ order,
                         const i64 *__restrict__ start, T *__restrict__ plane_gradients, i64 batches, i64 height, i64 width, i64 count) {
    const i64 thread = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    const i64 texel = thread / GRAD_LANES;
    if (texel >= batches * 3 * height * width) return;
    const int channel = (int)(thread % GRAD_LANES) * GRAD_VECTOR, columns = (int)width, rows = (int)height;
    const int column = (int)(texel % columns), row = (int)(texel / columns % rows), k = (int)(texel / columns / rows % 3);
    const i64 object = texel / columns / rows / 3, cells = batches * (height + 1) * (width + 1);
    float sum[GRAD_VECTOR] = {};
    for (int side = 0; side < 2; ++side) {  // the two cells of a row follow each other
        const i64 *from = start + k * (cells + 1) + (object * (height + 1) + row + side) * (width + 1) + column;
        const i64 end = from[2];
#pragma unroll 4
        for (i64 at = from[0]; at < end; ++at) {
            const Index n = (Index)order[k * count + at];
            const Place across = place_on(points[3 * n + (k == 2)], columns), along = place_on(points[3 * n + (k == 0 ? 1 : 2)], rows);
            const float weight = (across.first == column ? across.weight[0] : across.weight[1]) *
                                 (along.first == row ? along.weight[0] : along.weight[1]);
            const T *address = gradients + n * GRAD_ROW + (CONCAT ? k * CHANNELS : 0) + channel;
            const Gradient gradient = load_if(true, (const Gradient *)address);
#pragma unroll
            for (int v = 0; v < GRAD_VECTOR; ++v) sum[v] += weight * to_float(gradient.value[v]);
        }
    }
    Gradient out;
#pragma unroll
    for (int v = 0; v < GRAD_VECTOR; ++v) out.value[v] = from_float<T>(sum[v]);
    *(Gradient *)(plane_gradients + texel * CHANNELS + channel) = out;
}
