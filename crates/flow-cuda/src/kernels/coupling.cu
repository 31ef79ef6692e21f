// A coupling of vectors by an additive or an affine law, given its conditioner's output: split, law, merge and log-determinant at
// once. A warp for each row, or, where WIDE, a block.

struct Coupling {
  const float* x;           // [rows][dim]: z on the way back to data
  const float* parameters;  // [rows][changed], affine [rows][2 changed]: raw, then t
  const float* bound;       // [changed], if learned
  float fixed_bound;
  float* z;                 // [rows][dim]: x on the way back to data
  float* log_det;           // [rows], if wanted
  const float* grad_z;      // [rows][dim]
  const float* grad_log_det;  // [rows]
  float* grad_parameters;   // as the parameters
  float* grad_bound;        // [rows][changed], if learned: to be added up
  const float* grad_kept;   // [rows][dim - changed]
  float* grad_x;            // [rows][dim]
  const long long* places;  // if any: [dim], where each coordinate is among the kept, and behind these the changed
  int rows, dim, changed;
  int halves;               // whether the first coordinates are together, or every other is
  int flipped;              // whether those, or the even ones, are changed rather than kept
  int affine;
};

// Where a coordinate is among the kept ones, and, counted on from there, the changed ones.
__device__ inline int place_of(const Coupling& c, int d) {
  if (c.places) return (int)c.places[d];
  const int of_first = (c.dim + 1) / 2;
  const bool first = c.halves ? d < of_first : d % 2 == 0;
  const int own = c.halves ? (first ? d : d - of_first) : d / 2;
  return first != (c.flipped != 0) ? own : c.dim - c.changed + own;
}

struct Scaled {
  float raw_tanh, bound, scale;
};

__device__ inline Scaled scaled(const Coupling& c, const float* parameters, int at) {
  if (!c.affine) return Scaled{0.0f, 0.0f, 1.0f};
  Scaled s;
  s.raw_tanh = tanhf(parameters[at]);
  s.bound = c.bound ? c.bound[at] : c.fixed_bound;
  s.scale = expf(s.bound * s.raw_tanh);
  return s;
}

template <bool WIDE>
__device__ inline int own_row() {
  return WIDE ? (int)blockIdx.x : (int)(blockIdx.x * 8 + threadIdx.x / 32);
}

template <bool INVERSE, bool WIDE>
__device__ inline void couple(const Coupling& c, float* shared) {
  constexpr int kLanes = WIDE ? 256 : 32;
  const int row = own_row<WIDE>(), lane = threadIdx.x % kLanes;
  const int kept = c.dim - c.changed;
  float log_det = 0.0f;
  if (row < c.rows) {
    const float* x = c.x + (size_t)row * c.dim;
    float* z = c.z + (size_t)row * c.dim;
    const float* parameters = c.parameters + (size_t)row * c.changed * (c.affine ? 2 : 1);
    const float* shifts = parameters + (c.affine ? c.changed : 0);
    for (int d = lane; d < c.dim; d += kLanes) {
      const int place = place_of(c, d);
      float v = x[d];
      if (place >= kept) {
        const int at = place - kept;
        const Scaled s = scaled(c, parameters, at);
        v = INVERSE ? (v - shifts[at]) / s.scale : v * s.scale + shifts[at];
        log_det += INVERSE ? -s.bound * s.raw_tanh : s.bound * s.raw_tanh;
      }
      z[d] = v;
    }
  }
  log_det = WIDE ? sum_of_block(log_det, shared) : sum_of_warp(log_det);
  if (row < c.rows && lane == 0 && c.log_det) c.log_det[row] = log_det;
}

// g_t = g_z,   g_s = g_z x scale + g_log_det,   g_raw = g_s bound (1 - tanh^2),   g_bound = g_s tanh
template <bool WIDE>
__device__ inline void couple_parameters_back(const Coupling& c) {
  constexpr int kLanes = WIDE ? 256 : 32;
  const int row = own_row<WIDE>(), lane = threadIdx.x % kLanes;
  if (row >= c.rows) return;
  const int kept = c.dim - c.changed, all = c.changed * (c.affine ? 2 : 1);
  const float* parameters = c.parameters + (size_t)row * all;
  float* to = c.grad_parameters + (size_t)row * all;
  for (int d = lane; d < c.dim; d += kLanes) {
    const int at = place_of(c, d) - kept;
    if (at < 0) continue;
    const float of_z = c.grad_z[(size_t)row * c.dim + d];
    to[(c.affine ? c.changed : 0) + at] = of_z;
    if (!c.affine) continue;
    const Scaled s = scaled(c, parameters, at);
    const float of_s = of_z * c.x[(size_t)row * c.dim + d] * s.scale + c.grad_log_det[row];
    to[at] = of_s * s.bound * (1.0f - s.raw_tanh * s.raw_tanh);
    if (c.grad_bound) c.grad_bound[(size_t)row * c.changed + at] = of_s * s.raw_tanh;
  }
}

template <bool WIDE>
__device__ inline void couple_back(const Coupling& c) {
  constexpr int kLanes = WIDE ? 256 : 32;
  const int row = own_row<WIDE>(), lane = threadIdx.x % kLanes;
  if (row >= c.rows) return;
  const int kept = c.dim - c.changed;
  const float* parameters = c.parameters + (size_t)row * c.changed * (c.affine ? 2 : 1);
  for (int d = lane; d < c.dim; d += kLanes) {
    const int place = place_of(c, d);
    const float of_z = c.grad_z[(size_t)row * c.dim + d];
    c.grad_x[(size_t)row * c.dim + d] =
        place < kept ? of_z + c.grad_kept[(size_t)row * kept + place] : of_z * scaled(c, parameters, place - kept).scale;
  }
}

#ifdef OF_COUPLING
extern __shared__ float4 shared_memory[];
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Coupling c) {
#if OF_COUPLING == 0
  couple<false, OF_WIDE>(c, (float*)shared_memory);
#elif OF_COUPLING == 1
  couple<true, OF_WIDE>(c, (float*)shared_memory);
#elif OF_COUPLING == 2
  couple_parameters_back<OF_WIDE>(c);
#else
  couple_back<OF_WIDE>(c);
#endif
}
#endif
