// Sums over a warp's threads and a block's, in one order.

#ifndef FLOW_SUMS
#define FLOW_SUMS

__device__ inline float sum_of_warp(float v) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(0xffffffffu, v, apart);
  return v;
}

// By all 256 threads of a block, with room for 8 numbers that nobody else uses meanwhile.
__device__ inline float sum_of_block(float v, float* room) {
  v = sum_of_warp(v);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += room[i];
  __syncthreads();
  return sum;
}

#endif
