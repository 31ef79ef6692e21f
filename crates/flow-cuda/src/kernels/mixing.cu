// Glow's two maps of channels: ActNorm, and the matrix of the 1x1 convolution by its LU decomposition. flow-core's `actnorm` and
// `conv1x1` have the equations.

struct ActNorm {
  const float* x;  // [rows][channels][places]: z on the way back to data
  const float* log_scale;
  const float* shift;
  float* z;
  float* log_det;  // [rows]
  const float* grad_z;
  const float* grad_log_det;  // [rows]
  float* grad_x;
  float* grad_log_scale;  // added to, if any
  float* grad_shift;      // added to, if any
  int rows, channels, places;
};

// Numbers of a thread.
constexpr int kOfAThread = 4;

// z = (x + shift) e^log_scale, or back. The first block sees to the log-determinant.
template <bool INVERSE>
__device__ inline void act_norm(const ActNorm& a, float* shared) {
  const long long all = (long long)a.rows * a.channels * a.places;
#pragma unroll
  for (int j = 0; j < kOfAThread; ++j) {
    const long long i = ((long long)blockIdx.x * kOfAThread + j) * 256 + threadIdx.x;
    if (i < all) {
      const int channel = (int)(i / a.places % a.channels);
      const float scale = expf(INVERSE ? -a.log_scale[channel] : a.log_scale[channel]), shift = a.shift[channel];
      a.z[i] = INVERSE ? a.x[i] * scale - shift : (a.x[i] + shift) * scale;
    }
  }
  if (blockIdx.x > 0) return;
  float sum = 0.0f;
  for (int c = threadIdx.x; c < a.channels; c += 256) sum += a.log_scale[c];
  sum = sum_of_block(sum, shared) * a.places;
  for (int row = threadIdx.x; row < a.rows; row += 256) a.log_det[row] = INVERSE ? -sum : sum;
}

// A block for each channel.
__device__ inline void act_norm_back(const ActNorm& a, float* shared) {
  const int channel = blockIdx.x, all = a.rows * a.places;
  const float scale = expf(a.log_scale[channel]), shift = a.shift[channel];
  float of_shift = 0.0f, of_scale = 0.0f, of_log_det = 0.0f;
#pragma unroll 4
  for (int i = threadIdx.x; i < all; i += 256) {
    const size_t place = ((size_t)(i / a.places) * a.channels + channel) * a.places + i % a.places;
    const float of_x = a.grad_z[place] * scale;
    a.grad_x[place] = of_x;
    of_shift += of_x;
    of_scale += of_x * (a.x[place] + shift);
  }
  for (int row = threadIdx.x; row < a.rows; row += 256) of_log_det += a.grad_log_det[row];
  of_shift = sum_of_block(of_shift, shared);
  of_scale = sum_of_block(of_scale, shared);
  of_log_det = sum_of_block(of_log_det, shared);
  if (threadIdx.x > 0) return;
  if (a.grad_shift) a.grad_shift[channel] += of_shift;
  if (a.grad_log_scale) a.grad_log_scale[channel] += of_scale + of_log_det * a.places;
}

struct Lu {
  const float* lower;  // [c][c], of which the strict triangle counts
  const float* upper;  // likewise
  const float* log_diagonal;
  const float* sign;
  const long long* order;  // row i of the matrix is row order[i] of L U
  float* matrix;           // [c][c]
  float* log_det;          // [rows]
  const float* grad_matrix;   // [c][c]
  const float* grad_log_det;  // [rows]
  float* grad_lower;          // added to, if any
  float* grad_upper;          // added to, if any
  float* grad_log_diagonal;   // added to, if any
  int channels, rows, places;
};

__device__ inline float lower_at(const Lu& a, int i, int j) {
  return i > j ? a.lower[i * a.channels + j] : i == j ? 1.0f : 0.0f;
}

__device__ inline float upper_at(const Lu& a, int i, int j) {
  return i < j ? a.upper[i * a.channels + j] : i == j ? a.sign[i] * expf(a.log_diagonal[i]) : 0.0f;
}

// W = P L U, a thread for each number; ln|det| times the places by the first block.
__device__ inline void lu_matrix(const Lu& a, float* shared) {
  const int c = a.channels, at = blockIdx.x * 256 + threadIdx.x;
  if (at < c * c) {
    const int row = (int)a.order[at / c], column = at % c;
    float sum = 0.0f;
    for (int k = 0; k <= min(row, column); ++k) sum = fmaf(lower_at(a, row, k), upper_at(a, k, column), sum);
    a.matrix[at] = sum;
  }
  if (blockIdx.x > 0) return;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < c; i += 256) sum += a.log_diagonal[i];
  sum = sum_of_block(sum, shared) * a.places;
  for (int row = threadIdx.x; row < a.rows; row += 256) a.log_det[row] = sum;
}

// With G = P^T g_W:  g_L = G U^T below the diagonal,  g_U = L^T G above it,  g_log_diagonal = (L^T G) diagonal + places g_log_det.
__device__ inline void lu_back(const Lu& a, float* shared) {
  const int c = a.channels, at = blockIdx.x * 256 + threadIdx.x;
  float of_log_det = 0.0f;
  for (int row = threadIdx.x; row < a.rows; row += 256) of_log_det += a.grad_log_det[row];
  of_log_det = sum_of_block(of_log_det, shared) * a.places;
  if (at >= c * c) return;
  const int i = at / c, j = at % c;
  float sum = 0.0f;
  for (int r = 0; r < c; ++r) {
    // Row r of g_W is row `row` of G.
    const int row = (int)a.order[r];
    if (i > j) {
      if (row == i) {
        for (int k = j; k < c; ++k) sum = fmaf(a.grad_matrix[r * c + k], upper_at(a, j, k), sum);
      }
    } else if (row >= i) {
      sum = fmaf(lower_at(a, row, i), a.grad_matrix[r * c + j], sum);
    }
  }
  if (i > j && a.grad_lower) a.grad_lower[at] += sum;
  if (i < j && a.grad_upper) a.grad_upper[at] += sum;
  if (i == j && a.grad_log_diagonal) a.grad_log_diagonal[i] += sum * upper_at(a, i, i) + of_log_det;
}

#ifdef OF_MIXING
extern __shared__ float4 shared_memory[];
#if OF_MIXING < 3
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ ActNorm a) {
#if OF_MIXING == 0
  act_norm<false>(a, (float*)shared_memory);
#elif OF_MIXING == 1
  act_norm<true>(a, (float*)shared_memory);
#else
  act_norm_back(a, (float*)shared_memory);
#endif
}
#else
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Lu a) {
#if OF_MIXING == 3
  lu_matrix(a, (float*)shared_memory);
#else
  lu_back(a, (float*)shared_memory);
#endif
}
#endif
#endif
