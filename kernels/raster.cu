// Triangle rasteriser: which triangle each pixel of an image sees first, where on it, and how deep.
//
// Two-dimensional homogeneous rasterisation (Olano and Greer 1997, Triangle Scan Conversion using 2D Homogeneous Coordinates): a
// corner is (x w, y w, w), x and y its place in the image in pixels, w its depth; corners behind the eye have w <= 0 and nothing
// is clipped. Seen from the pixel's centre p, corner k lies at (X_k, Y_k) = (x w - p_x w, y w - p_y w). The pixel is covered if the
// three edge values X_i Y_j - Y_i X_j have one sign; they are the barycentrics, but for their sum. A map of UVs has w = 1.
//
// Coverage is exact. (X_k, Y_k) depends on corner and pixel alone, so all triangles around a corner see the same rounded one, and
// the sign of an edge value is that of the exact difference of products (`cross` says why). An edge through a pixel's centre is decided
// as if the centre lay at p + (e, e^2), y down, for an infinitely small e, by the edge's own end points. So two triangles on either
// side of an edge never both get a pixel there, nor both leave it: a centre on the left or top border is inside, one on the right or
// bottom border outside. Both sides of a triangle are seen.
//
// Every operation on doubles is rounded by itself (never contracted to a fused one), so that reference_raster.py gives the same bits.

#define LIMIT 1e15    // corners beyond it, or not finite, make their triangle cover nothing
#define MARGIN 1e-3   // bounding boxes are wider by this, pixels, against rounding
#define EMPTY 0xffffffffffffffffull

#ifdef TETRAVIEW_HOST
__device__ __forceinline__ double product(double a, double b) { return a * b; }
__device__ __forceinline__ double sum(double a, double b) { return a + b; }
#else
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double sum(double a, double b) { return __dadd_rn(a, b); }
#endif

// a d - b c, within two units in the last place and zero only where the exact value is (but for underflow): each product is taken
// apart into its rounded value and what rounding left over. Where the rounded ones are within a factor of two of each other their
// difference is exact, and so is its sum with the first rest as far as signs go; elsewhere it outweighs both rests.
__device__ __forceinline__ double cross(double a, double b, double c, double d) {
    const double ad = product(a, d), bc = product(b, c);
    const double ad_rest = fma(a, d, -ad), bc_rest = fma(b, c, -bc);
    return sum(sum(sum(ad, -bc), ad_rest), -bc_rest);
}

__device__ __forceinline__ int sign_of(double x) { return (x > 0) - (x < 0); }

struct Triangle {
    double x[3], y[3], w[3];
};

// False if a corner is not finite or out of range.
__device__ __forceinline__ bool load(const double *points, const i64 *faces, i64 face, Triangle &triangle) {
    bool valid = true;
    for (int k = 0; k < 3; ++k) {
        const double *corner = points + 3 * faces[3 * face + k];
        triangle.x[k] = corner[0];
        triangle.y[k] = corner[1];
        triangle.w[k] = corner[2];
        for (int c = 0; c < 3; ++c) valid = valid && corner[c] >= -LIMIT && corner[c] <= LIMIT;
    }
    return valid;
}

// Pixels [first, last) of `size` whose centres lie within [low, high].
__device__ __forceinline__ void centres_within(double low, double high, int size, int &first, int &last) {
    low = ceil(low - 0.5 - MARGIN);
    high = floor(high - 0.5 + MARGIN) + 1;
    first = low > 0 ? (low < size ? (int)low : size) : 0;
    last = high < size ? (high > 0 ? (int)high : 0) : size;
}

// The three edge values at a pixel's centre (values[k] belongs to corner k). True if it is covered.
__device__ __forceinline__ bool edge_values(const Triangle &triangle, int column, int row, double *values) {
    double x[3], y[3];
    for (int k = 0; k < 3; ++k) {
        x[k] = sum(triangle.x[k], -product(column + 0.5, triangle.w[k]));
        y[k] = sum(triangle.y[k], -product(row + 0.5, triangle.w[k]));
    }
    int signs = 0;
    for (int k = 0; k < 3; ++k) {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        values[k] = cross(x[i], y[i], x[j], y[j]);
        int sign = sign_of(values[k]);
        if (values[k] == 0) {  // the edge passes through the centre
            sign = sign_of(cross(triangle.y[i], triangle.w[i], triangle.y[j], triangle.w[j]));
            if (sign == 0) sign = -sign_of(cross(triangle.x[i], triangle.w[i], triangle.x[j], triangle.w[j]));
        }
        signs += sign;
    }
    return signs == 3 || signs == -3;
}

// Rectangle of pixels (first column, first row, last column, last row; the last ones excluded) that may be covered by each triangle,
// int [F, 4], and how many tiles of TILE x TILE pixels it touches.
extern "C" __global__ void __launch_bounds__(128)
    bound_triangles(const double *points, const i64 *faces, int *rectangles, i64 *tiles, i64 n_faces, i64 height, i64 width) {
    const i64 face = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (face >= n_faces) return;
    int *rectangle = rectangles + 4 * face;
    int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
    Triangle triangle;
    if (load(points, faces, face, triangle)) {
        const double *w = triangle.w;
        if (w[0] > 0 && w[1] > 0 && w[2] > 0) {
            double low_x = triangle.x[0] / w[0], low_y = triangle.y[0] / w[0], high_x = low_x, high_y = low_y;
            for (int k = 1; k < 3; ++k) {
                const double x = triangle.x[k] / w[k], y = triangle.y[k] / w[k];
                low_x = x < low_x ? x : low_x;
                low_y = y < low_y ? y : low_y;
                high_x = x > high_x ? x : high_x;
                high_y = y > high_y ? y : high_y;
            }
            centres_within(low_x, high_x, (int)width, x0, x1);
            centres_within(low_y, high_y, (int)height, y0, y1);
        } else if (w[0] > 0 || w[1] > 0 || w[2] > 0) {  // it crosses the plane of the eye: its image may reach anywhere
            x1 = (int)width;
            y1 = (int)height;
        }
    }
    const bool any = x0 < x1 && y0 < y1;
    rectangle[0] = x0;
    rectangle[1] = y0;
    rectangle[2] = x1;
    rectangle[3] = y1;
    tiles[face] = any ? (i64)((x1 - 1) / TILE - x0 / TILE + 1) * ((y1 - 1) / TILE - y0 / TILE + 1) : 0;
}

// Each TILE threads take one pair of a triangle and a tile, each of them a column of it, and leave the least of
// (bits of the depth) << 32 | triangle in each pixel. `ends` are the running sums of the numbers of tiles.
extern "C" __global__ void __launch_bounds__(128)
    cover_tiles(const double *points, const i64 *faces, const int *rectangles, const i64 *ends, unsigned long long *nearest,
                i64 n_faces, i64 n_pairs, i64 width) {
    const int lane = threadIdx.x % TILE;
    const i64 step = (i64)gridDim.x * (blockDim.x / TILE);
    for (i64 pair = blockIdx.x * (i64)(blockDim.x / TILE) + threadIdx.x / TILE; pair < n_pairs; pair += step) {
        i64 face = 0;
        for (i64 after = n_faces; face < after;) {  // the first triangle whose tiles end after `pair`
            const i64 middle = (face + after) / 2;
            if (ends[middle] > pair) after = middle;
            else face = middle + 1;
        }
        const int *rectangle = rectangles + 4 * face;
        const int first_tile = rectangle[0] / TILE, tiles_wide = (rectangle[2] - 1) / TILE - first_tile + 1;
        const int tile = (int)(pair - (face ? ends[face - 1] : 0));
        const int column = (first_tile + tile % tiles_wide) * TILE + lane;
        const int tile_row = (rectangle[1] / TILE + tile / tiles_wide) * TILE;
        if (column < rectangle[0] || column >= rectangle[2]) continue;
        const int first_row = max(tile_row, rectangle[1]), last_row = min(tile_row + TILE, rectangle[3]);
        Triangle triangle;
        load(points, faces, face, triangle);
        for (int row = first_row; row < last_row; ++row) {
            double values[3];
            if (!edge_values(triangle, column, row, values)) continue;
            const double total = sum(sum(values[0], values[1]), values[2]);
            const double weighted = sum(sum(product(values[0], triangle.w[0]), product(values[1], triangle.w[1])),
                                        product(values[2], triangle.w[2]));
            const float depth = (float)(weighted / total);
            if (!(depth > 0 && depth < 3e38f)) continue;  // behind the eye, or so narrow that the values underflow
            atomicMin(nearest + row * width + column, (unsigned long long)__float_as_uint(depth) << 32 | (uint32_t)face);
        }
    }
}

// What is left in each pixel: triangle (-1: none), barycentrics (0) and depth (infinity).
extern "C" __global__ void __launch_bounds__(128)
    resolve_pixels(const double *points, const i64 *faces, const unsigned long long *nearest, i64 *face_index, float *barycentrics,
                   float *depth, i64 n_pixels, i64 width) {
    const i64 pixel = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (pixel >= n_pixels) return;
    const unsigned long long key = nearest[pixel];
    float *weights = barycentrics + 3 * pixel;
    if (key == EMPTY) {
        face_index[pixel] = -1;
        depth[pixel] = __uint_as_float(0x7f800000u);
        weights[0] = weights[1] = weights[2] = 0;
        return;
    }
    const i64 face = (i64)(key & 0xffffffffull);
    Triangle triangle;
    load(points, faces, face, triangle);
    double values[3];
    edge_values(triangle, (int)(pixel % width), (int)(pixel / width), values);
    const double total = sum(sum(values[0], values[1]), values[2]);
    face_index[pixel] = face;
    depth[pixel] = __uint_as_float((uint32_t)(key >> 32));
    for (int k = 0; k < 3; ++k) weights[k] = (float)(values[k] / total);
}
