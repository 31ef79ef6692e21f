// The spline law of a coupling (rational-quadratic; Durkan et al. 2019, section 3), a thread for each coordinate: the equations
// are those of flow-core's `spline_law` and `rational_quadratic`, in their order.

struct Spline {
  const float* x;           // [n][changed][places], each row whole; z on the way back to data
  const float* parameters;  // [n][3 BINS + 1][changed][places]
  float* z;                 // [n][changed][places]; x on the way back to data
  float* log_slope;         // the same: ln dz/dx either way
  const float* grad_z;      // as x
  const float* grad_log_slope;  // a number for each row of x, or as x
  float* grad_x;
  float* grad_parameters;
  int rows, changed, places;
  int x_apart, grad_z_apart;  // numbers from one row to the next
  int log_slopes_apart;       // the same, and 0 within a row, where there is one number for each
  int of_rows;                // whether there is
};

constexpr float kBound = 6.0f;
constexpr float kLeastShare = 1e-3f;
constexpr float kLeastSlope = 1e-3f;
constexpr float kOfOne = 0.541324854612918f;  // ln(e - 1)

__device__ inline float soft_plus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

// Where this thread's coordinate is.
struct Coordinate {
  int row, within;
  bool there;
};

__device__ inline Coordinate coordinate(const Spline& s) {
  const int each = s.changed * s.places;
  const long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  return Coordinate{(int)(i / each), (int)(i % each), i < (long long)s.rows * each};
}

// Sizes of bins by `raw`, which becomes their softmax.
template <int BINS>
__device__ inline void sizes(float (&raw)[BINS], float (&size)[BINS]) {
  float most = raw[0];
#pragma unroll
  for (int i = 1; i < BINS; ++i) most = fmaxf(most, raw[i]);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < BINS; ++i) {
    raw[i] = expf(raw[i] - most);
    sum += raw[i];
  }
#pragma unroll
  for (int i = 0; i < BINS; ++i) {
    raw[i] /= sum;
    size[i] = (raw[i] * (1.0f - BINS * kLeastShare) + kLeastShare) * (2.0f * kBound);
  }
}

// The bin of a coordinate, and what made it.
struct Bin {
  int index;
  float x, w, z, h, d0, d1, slope0, slope1;
};

// `along`: whether `value` lies along x, else along z. `widths` and `heights` become shares.
template <int BINS>
__device__ inline Bin bin_of(const Spline& s, const Coordinate& c, float value, bool along, float (&widths)[BINS],
                             float (&heights)[BINS]) {
  const int each = s.changed * s.places;
  const float* own = s.parameters + (size_t)c.row * (3 * BINS + 1) * each + c.within;
  float w[BINS], h[BINS];
#pragma unroll
  for (int i = 0; i < BINS; ++i) {
    widths[i] = own[(size_t)i * each];
    heights[i] = own[(size_t)(BINS + i) * each];
  }
  sizes<BINS>(widths, w);
  sizes<BINS>(heights, h);
  Bin bin = {0, -kBound, w[0], -kBound, h[0], 0.0f, 0.0f, 0.0f, 0.0f};
  float x = -kBound, z = -kBound;
#pragma unroll
  for (int i = 1; i < BINS; ++i) {
    x += w[i - 1];
    z += h[i - 1];
    if (value >= (along ? x : z)) {
      bin.index = i;
      bin.x = x;
      bin.w = w[i];
      bin.z = z;
      bin.h = h[i];
    }
  }
  bin.slope0 = own[(size_t)(2 * BINS + bin.index) * each] + kOfOne;
  bin.slope1 = own[(size_t)(2 * BINS + bin.index + 1) * each] + kOfOne;
  bin.d0 = soft_plus(bin.slope0) + kLeastSlope;
  bin.d1 = soft_plus(bin.slope1) + kLeastSlope;
  return bin;
}

// The curve of a bin at `t`.
struct Curve {
  float s, both, denominator, numerator, log_slope;
};

__device__ inline Curve curve(const Bin& b, float t) {
  Curve c;
  const float rest = 1.0f - t;
  c.s = b.h / b.w;
  c.both = t * rest;
  c.denominator = c.s + (b.d0 + b.d1 - 2.0f * c.s) * c.both;
  c.numerator = b.d1 * t * t + 2.0f * c.s * t * rest + b.d0 * rest * rest;
  c.log_slope = logf(c.s * c.s * c.numerator / (c.denominator * c.denominator));
  return c;
}

// A coordinate's bin along x, its place there, free and kept between 0 and 1, and the curve at that.
struct Along {
  Bin bin;
  float free, t;
  Curve curve;
};

template <int BINS>
__device__ inline Along along_x(const Spline& s, const Coordinate& c, float (&widths)[BINS], float (&heights)[BINS]) {
  const float x = s.x[(size_t)c.row * s.x_apart + c.within];
  const Bin bin = bin_of<BINS>(s, c, x, true, widths, heights);
  const float free = (x - bin.x) / bin.w, t = fminf(fmaxf(free, 0.0f), 1.0f);
  return Along{bin, free, t, curve(bin, t)};
}

template <int BINS>
__device__ inline void spline_forward(const Spline& s) {
  const Coordinate c = coordinate(s);
  if (!c.there) return;
  float widths[BINS], heights[BINS];
  const Along along = along_x<BINS>(s, c, widths, heights);
  const Bin& b = along.bin;
  const Curve& f = along.curve;
  const float free = along.free, t = along.t;
  const size_t place = (size_t)c.row * s.changed * s.places + c.within;
  const float inside = b.z + b.h * (f.s * t * t + b.d0 * f.both) / f.denominator;
  s.z[place] = inside + (free - t) * b.w * expf(f.log_slope);
  s.log_slope[place] = f.log_slope;
}

template <int BINS>
__device__ inline void spline_inverse(const Spline& s) {
  const Coordinate c = coordinate(s);
  if (!c.there) return;
  const float z = s.x[(size_t)c.row * s.x_apart + c.within];
  float widths[BINS], heights[BINS];
  const Bin b = bin_of<BINS>(s, c, z, false, widths, heights);
  const float free = (z - b.z) / b.h, y = fminf(fmaxf(free, 0.0f), 1.0f);
  const float slope = b.h / b.w;
  const float bent = y * (b.d0 + b.d1 - 2.0f * slope);
  const float a2 = slope - b.d0 + bent, a1 = b.d0 - bent, a0 = -slope * y;
  const float root = sqrtf(fmaxf(a1 * a1 - a2 * a0 * 4.0f, 0.0f));
  const float sum = fabsf(a1) + root;
  // The same root in two forms, of which one has no difference of like numbers.
  const float t = fminf(fmaxf(a1 < 0.0f ? sum / (a2 * 2.0f) : a0 * -2.0f / sum, 0.0f), 1.0f);
  const Curve f = curve(b, t);
  const size_t place = (size_t)c.row * s.changed * s.places + c.within;
  s.z[place] = b.x + b.w * t + (free - y) * b.h * expf(-f.log_slope);
  s.log_slope[place] = f.log_slope;
}

// Gradients of raw shares from those of sizes: `of_bin` of the bin's own size, `of_start` of every size before it.
template <int BINS>
__device__ inline void share_gradients(const float (&shares)[BINS], int index, float of_bin, float of_start, float* to,
                                       size_t apart) {
  const float scale = 2.0f * kBound * (1.0f - BINS * kLeastShare);
  float mean = 0.0f;
#pragma unroll
  for (int i = 0; i < BINS; ++i) mean += shares[i] * (i < index ? of_start : i == index ? of_bin : 0.0f);
#pragma unroll
  for (int i = 0; i < BINS; ++i) {
    const float own = i < index ? of_start : i == index ? of_bin : 0.0f;
    to[i * apart] = shares[i] * (own - mean) * scale;
  }
}

template <int BINS>
__device__ inline void spline_backward(const Spline& s) {
  const Coordinate c = coordinate(s);
  if (!c.there) return;
  float widths[BINS], heights[BINS];
  const Along along = along_x<BINS>(s, c, widths, heights);
  const Bin& b = along.bin;
  const Curve& f = along.curve;
  const float free = along.free, t = along.t;
  const float slope = expf(f.log_slope), rest = 1.0f - t;
  const float of_z = s.grad_z[(size_t)c.row * s.grad_z_apart + c.within];
  const float of_log = s.grad_log_slope[(size_t)c.row * s.log_slopes_apart + (s.of_rows ? 0 : c.within)];

  // z = z_0 + h q + (free - t) w e^L,  q = up / denominator,  up = s t^2 + d0 both
  const float up = f.s * t * t + b.d0 * f.both, q = up / f.denominator;
  const float of_L = of_log + of_z * (free - t) * b.w * slope;
  float of_free = of_z * slope * b.w, of_t = -of_free;
  float of_w = of_z * slope * (free - t), of_h = of_z * q;
  const float of_q = of_z * b.h, of_up = of_q / f.denominator;
  // L = 2 ln s + ln numerator - 2 ln denominator
  const float of_denominator = -of_q * q / f.denominator - 2.0f * of_L / f.denominator;
  const float of_numerator = of_L / f.numerator;
  float of_s = 2.0f * of_L / f.s + of_denominator * (1.0f - 2.0f * f.both) + of_up * t * t +
               of_numerator * 2.0f * f.both;
  const float of_both = of_denominator * (b.d0 + b.d1 - 2.0f * f.s) + of_up * b.d0 + of_numerator * 2.0f * f.s;
  const float of_d0 = of_denominator * f.both + of_up * f.both + of_numerator * rest * rest;
  const float of_d1 = of_denominator * f.both + of_numerator * t * t;
  of_t += of_up * 2.0f * f.s * t + of_numerator * 2.0f * (b.d1 * t - b.d0 * rest) + of_both * (1.0f - 2.0f * t);
  if (free >= 0.0f && free <= 1.0f) of_free += of_t;
  // free = (x - x_0) / w,  s = h / w
  const float of_x = of_free / b.w;
  of_w += -of_free * free / b.w - of_s * f.s / b.w;
  of_h += of_s / b.w;

  const int each = s.changed * s.places;
  s.grad_x[(size_t)c.row * each + c.within] = of_x;
  float* to = s.grad_parameters + (size_t)c.row * (3 * BINS + 1) * each + c.within;
  share_gradients<BINS>(widths, b.index, of_w, -of_x, to, each);
  share_gradients<BINS>(heights, b.index, of_h, of_z, to + (size_t)BINS * each, each);
  const float by_0 = of_d0 / (1.0f + expf(-b.slope0)), by_1 = of_d1 / (1.0f + expf(-b.slope1));
#pragma unroll
  for (int i = 0; i <= BINS; ++i) {
    to[(size_t)(2 * BINS + i) * each] = i == b.index ? by_0 : i == b.index + 1 ? by_1 : 0.0f;
  }
}

#ifdef OF_WAY
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Spline s) {
#if OF_WAY == 0
  spline_forward<OF_BINS>(s);
#elif OF_WAY == 1
  spline_inverse<OF_BINS>(s);
#else
  spline_backward<OF_BINS>(s);
#endif
}
#endif
