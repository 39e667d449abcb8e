// Marching tetrahedra on the periodic A15 lattice (front: tets.py, twin: reference_tets.py): count, scan, emit.
//
// A period has 8 vertices, 54 edges and 46 tetrahedra, so that ids are implicit: vertex 8 * period + site, edge 54 * period + edge.
// The tetrahedra of a period reach into its 7 upper neighbours. A place there has a code: 8 * offset + site for a vertex,
// 64 * offset + edge for an edge, where offset = 4 x + 2 y + z. The signs of all those vertices fill one 64-bit word, bit by code;
// the crossed edges that a period owns are the bits of another, and an edge's rank among them follows by counting bits.
// No list of tetrahedra or edges exists, nothing is sorted, and the result is the same in every order of threads.
//
// INDEX: the type of the faces' indices, `int` or `i64`.

static constexpr int SITES = 8;
static constexpr int TETS = 46;

__device__ __forceinline__ i64 neighbour(i64 period, int offset, i64 side) {
    return period + ((offset >> 2) * side + (offset >> 1 & 1)) * side + (offset & 1);
}

__device__ __forceinline__ i64 thread_number() { return blockIdx.x * (i64)blockDim.x + threadIdx.x; }

// One byte a period, one bit a site, gathered from a period and its upper neighbours.
__device__ uint64_t gather(const uint8_t *bytes, i64 period, i64 side) {
    uint64_t word = 0;
    for (int offset = 0; offset < 8; ++offset) word |= (uint64_t)bytes[neighbour(period, offset, side)] << 8 * offset;
    return word;
}

// Bit k: corner k is inside.
__device__ __forceinline__ int case_of(uint64_t inside, const int *corners) {
    int result = 0;
    for (int k = 0; k < 4; ++k) result |= (int)(inside >> corners[k] & 1) << k;
    return result;
}

// Which vertices of each period are inside and which are not a number, as bits. One thread a period of the lattice.
extern "C" __global__ void find_signs(const float4 *sdf, i64 n_periods, uint8_t *positive, uint8_t *nan) {
    const i64 period = thread_number();
    if (period >= n_periods) return;
    const float4 low = sdf[2 * period], high = sdf[2 * period + 1];
    const float values[SITES] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    unsigned is_positive = 0, is_nan = 0;
    for (int site = 0; site < SITES; ++site) {
        is_positive |= (unsigned)(values[site] > 0) << site;
        is_nan |= (unsigned)(values[site] != values[site]) << site;
    }
    positive[period] = (uint8_t)is_positive;
    nan[period] = (uint8_t)is_nan;
}

// How many triangles each listed period has, and which edges they cross. One thread a listed period.
// `used`: the codes of the tetrahedra's vertices; `edges` [n_edges, 3]: the codes of the two ends and of the edge itself, for all
// edges of the tetrahedra, by rising code. `faults`: bit 0, a value that is needed is not a number; bit 1, a period does not exist.
extern "C" __global__ void count_faces(const i64 *periods, i64 n_listed, i64 side, const uint8_t *positive, const uint8_t *nan,
                                       i64 used, const int *corners, const int *edges, i64 n_edges, const int *triangles,
                                       uint64_t *crossed, int *n_faces, int *faults) {
    const i64 k = thread_number();
    if (k >= n_listed) return;
    const i64 period = periods[k], last = side - 1;
    n_faces[k] = 0;
    if (period < 0 || period / side / side >= last || period / side % side >= last || period % side >= last) {
        atomicOr(faults, 2);
        return;
    }
    if (gather(nan, period, side) & (uint64_t)used) atomicOr(faults, 1);
    const uint64_t inside = gather(positive, period, side) & (uint64_t)used;
    if (inside == 0 || inside == (uint64_t)used) return;

    uint64_t found = 0;
    for (int row = 0; row < n_edges; ++row) {
        const int a = edges[3 * row], b = edges[3 * row + 1], code = edges[3 * row + 2];
        found |= ((inside >> a ^ inside >> b) & 1) << (code & 63);
        const bool ends_owner = row + 1 == n_edges || edges[3 * row + 5] >> 6 != code >> 6;
        if (ends_owner && found) atomicOr(&crossed[neighbour(period, code >> 6, side)], found);
        if (ends_owner) found = 0;
    }
    int count = 0;
    for (int tet = 0; tet < TETS; ++tet) {
        const int *of_case = triangles + 6 * case_of(inside, corners + 4 * tet);
        count += (of_case[0] >= 0) + (of_case[3] >= 0);
    }
    n_faces[k] = count;
}

// How many edges of each period are crossed. One thread a period of the lattice.
extern "C" __global__ void count_verts(const uint64_t *crossed, i64 n_periods, int *n_verts) {
    const i64 period = thread_number();
    if (period < n_periods) n_verts[period] = __popcll(crossed[period]);
}

// The vertex on each crossed edge. One thread a period of the lattice.
// `vert_ends`: crossed edges up to and with each period; `edge_ends` [54, 2]: codes; `sites` [8, 3]: steps from a period's corner.
extern "C" __global__ void emit_verts(const uint64_t *crossed, const i64 *vert_ends, i64 n_periods, i64 side, const float *sdf,
                                      const int *edge_ends, const int *sites, i64 period_steps, i64 resolution, float min_share,
                                      float *verts, i64 *ends, float *end_sdf) {
    const i64 period = thread_number();
    if (period >= n_periods) return;
    uint64_t left = crossed[period];
    for (i64 vert = vert_ends[period] - __popcll(left); left; ++vert, left &= left - 1) {
        const int edge = __ffsll(left) - 1;
        i64 id[2];
        float value[2];
        for (int end = 0; end < 2; ++end) {
            const int code = edge_ends[2 * edge + end];
            id[end] = SITES * neighbour(period, code >> 3, side) + (code & 7);
            value[end] = sdf[id[end]];
        }
        if (!(value[0] > 0)) {  // inside first
            const i64 other_id = id[0];
            const float other_value = value[0];
            id[0] = id[1], value[0] = value[1];
            id[1] = other_id, value[1] = other_value;
        }
        // In double: few are computed, and an edge far from the origin keeps all digits of its share.
        double share = (double)value[0] / ((double)value[0] - (double)value[1]);
        const double least = min_share, most = 1 - least;
        share = share < least ? least : share > most ? most : share;
        i64 owner[2] = {id[0] / SITES, id[1] / SITES};
        for (int axis = 2; axis >= 0; --axis) {
            double place[2];
            for (int end = 0; end < 2; ++end) {
                place[end] = (double)((owner[end] % side - 1) * period_steps + sites[3 * (id[end] % SITES) + axis]);
                owner[end] /= side;
            }
            verts[3 * vert + axis] = (float)(-1 + 2 * (place[0] * (1 - share) + place[1] * share) / (double)resolution);
        }
        for (int end = 0; end < 2; ++end) {
            ends[2 * vert + end] = id[end];
            end_sdf[2 * vert + end] = value[end];
        }
    }
}

// The triangles of each listed period. One thread a listed period.
// `face_ends`: triangles up to and with each listed period; `tet_edges` [46, 6]: codes.
extern "C" __global__ void emit_faces(const i64 *periods, i64 n_listed, i64 side, const uint8_t *positive, const int *corners,
                                      const int *tet_edges, const int *triangles, const uint64_t *crossed, const i64 *vert_ends,
                                      const int *n_faces, const i64 *face_ends, INDEX *faces) {
    const i64 k = thread_number();
    if (k >= n_listed || n_faces[k] == 0) return;
    const i64 period = periods[k];
    const uint64_t inside = gather(positive, period, side);
    INDEX *out = faces + 3 * (face_ends[k] - n_faces[k]);
    for (int tet = 0; tet < TETS; ++tet) {
        const int *of_case = triangles + 6 * case_of(inside, corners + 4 * tet);
        for (int corner = 0; corner < 6 && of_case[corner] >= 0; ++corner) {
            const int code = tet_edges[6 * tet + of_case[corner]];
            const i64 owner = neighbour(period, code >> 6, side);
            *out++ = (INDEX)(vert_ends[owner] - __popcll(crossed[owner] >> (code & 63)));
        }
    }
}
