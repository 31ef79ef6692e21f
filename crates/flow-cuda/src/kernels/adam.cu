// A step of Adam with decoupled weight decay: what libtorch's fused kernel does, by as many blocks as there is room for.

struct Adam {
  static constexpr int kMost = 32;
  struct Segment {
    float* parameter;
    const float* gradient;
    float* first;
    float* second;
    int length;
    int first_block;
  } segments[kMost];
  int count;
  const float* rate;
  const float* step;
  const float* shrink;  // if any
  const float* skip;    // if any
  float log_beta1, log_beta2, rest1, rest2, decay, epsilon;
};

// Numbers of a thread.
constexpr int kOwnNumbers = 4;

__device__ inline void adam(const Adam& all) {
  if (all.skip && *all.skip == 1.0f) return;
  int index = 0;
  while (index + 1 < all.count && all.segments[index + 1].first_block <= (int)blockIdx.x) ++index;
  const Adam::Segment& own = all.segments[index];
  const int start = ((int)blockIdx.x - own.first_block) * 256 * kOwnNumbers + (int)threadIdx.x;
  float p[kOwnNumbers], g[kOwnNumbers], m[kOwnNumbers], v[kOwnNumbers];
#pragma unroll
  for (int j = 0; j < kOwnNumbers; ++j) {
    const int i = start + j * 256;
    const bool there = i < own.length;
    p[j] = there ? own.parameter[i] : 0.0f;
    g[j] = there ? own.gradient[i] : 0.0f;
    m[j] = there ? own.first[i] : 0.0f;
    v[j] = there ? own.second[i] : 0.0f;
  }
  const float rate = *all.rate, t = *all.step;
  const float shrink = all.shrink ? *all.shrink : 1.0f;
  // 1 - beta^t
  const float step_size = rate / -expm1f(t * all.log_beta1);
  const float root = sqrtf(-expm1f(t * all.log_beta2));
#pragma unroll
  for (int j = 0; j < kOwnNumbers; ++j) {
    const int i = start + j * 256;
    g[j] /= shrink;
    m[j] += all.rest1 * (g[j] - m[j]);
    v[j] += all.rest2 * (g[j] * g[j] - v[j]);
    p[j] -= rate * all.decay * p[j];
    p[j] -= step_size * m[j] / (sqrtf(v[j]) / root + all.epsilon);
    if (i < own.length) {
      own.parameter[i] = p[j];
      own.first[i] = m[j];
      own.second[i] = v[j];
    }
  }
}

#ifdef OF_ADAM
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Adam all) { adam(all); }
#endif
