// Matrix products and convolutions, C[m][n] = sum over k of A(m, k) B(n, k), by blocks of 256 threads for a tile of C each.
//
// What A, B and C are is the KIND's business: where a number of theirs lies, and whether there is one (else it is 0). Tiles of
// A and B are copied to shared memory while the tile before is multiplied; a block's threads share a tile out by places and by k
// (GROUPS), so that a small tile, of which there are enough for all processors of the card, still has 256 threads. Every sum is
// taken in one order, whatever else runs: results are the same to the bit from call to call.
//
// PRECISION 0 multiplies in f32; 1 and 2 round factors to TF32 and to bf16, and multiply by the card's matrix units.

enum Kind {
  kLayer,         // y = x W^T:            A = x [m][k],         B = W [n][k]
  kLayerBack,     // g_x = g_y W:          A = g_y [m][k],       B = W [k][n]
  kLayerGradient, // g_W += g_y^T x:       A = g_y [k][m],       B = x [k][n]
  kFilter,        // y = x * W:            A = shifted x,        B = W [n][channel, tap]
  kFilterBack,    // g_x = g_y * W turned: A = shifted g_y,      B = W [k's channel][n][tap turned]
  kFilterGradient // g_W = sum g_y x:      A = g_y [m][pixel],   B = shifted x [channel, tap][pixel]
};

// What happens to a sum before it is written; in this order.
enum After {
  kActivate = 1,   // v = v > 0 ? v : slope v
  kGate = 2,       // v = gate > 0 ? v : slope v
  kEarly = 4,      // second = v
                   // v += added;  first = v
  kGateLate = 8    // second = gate > 0 ? v : slope v;  without it, and not early: second = v > 0 ? v : slope v
};

// One product. Sizes and places are in numbers; a pointer may be null where it says "if any".
struct Product {
  const float* a;
  const float* b;
  const float* bias;   // [n], if any
  const float* shift;  // [image][n] of a convolution, if any
  const float* added;  // as C, if any
  const float* gate;   // as C, if any
  float* first;        // C, if any
  float* second;       // C, if any
  int m, n, k;
  int height, width, taps;  // of convolutions: of an image, and 1 or 9
  int images_apart;         // of convolutions: numbers from one image of A to the next
  int after;
  float slope;
};

// Gradients of several layers or filters at once, each tile of each by a block.
struct Gradients {
  static constexpr int kMost = 24;
  struct Job {
    const float* grad;
    const float* input;
    float* weight;  // added to, or, split, the first of `splits` parts of m (n + 1) numbers each
    float* bias;    // if any; split, the last column of the parts
    int m, n, k;
    int height, width, taps;
    int grads_apart, inputs_apart;  // from one image to the next
    int splits;
    int first_block;
  } jobs[kMost];
  int count;
};

#ifndef EMULATED
__device__ inline void copy_later(float* to, const float* from, bool there) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  const int bytes = there ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(at), "l"(from), "r"(bytes));
}
__device__ inline void copy_four_later(float* to, const float* from, bool there) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  const int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(at), "l"(from), "r"(bytes));
}
__device__ inline void end_of_copies() { asm volatile("cp.async.commit_group;\n"); }
template <int LEFT>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(LEFT));
}
template <int PRECISION>
__device__ inline unsigned rounded(float x) {
  unsigned bits;
  if (PRECISION == 1) {
    asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(x));
  } else {
    unsigned short half;
    asm("cvt.rn.bf16.f32 %0, %1;\n" : "=h"(half) : "f"(x));
    bits = (unsigned)half << 16;
  }
  return bits;
}
// sum (16 x 8) += a (16 x 8) b (8 x 8), shared out among the threads of a warp as PTX has it (mma.m16n8k8).
__device__ inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

constexpr int kThreads = 256;

// How a tile of `ROWS` (of m or n) times `DEPTH` (of k) lies in shared memory: neighbours along k, or along rows. What is between
// lines keeps threads from each other's banks.
template <int ROWS, int DEPTH, bool ALONG_K>
struct Tile {
  static constexpr int kLine = ALONG_K ? DEPTH + 4 : ROWS + 8;
  static constexpr int kSize = ALONG_K ? ROWS * kLine : DEPTH * kLine;
  __device__ static int at(int row, int k) { return ALONG_K ? row * kLine + k : k * kLine + row; }
};

template <int KIND, int BM, int BN>
struct Shape {
  static constexpr bool kAAlongK = KIND == kLayer || KIND == kLayerBack || KIND == kFilterGradient;
  static constexpr bool kBAlongK = KIND != kLayerBack && KIND != kLayerGradient;
  static constexpr int kGroups = kThreads * 16 / (BM * BN);
  static constexpr int kDepth = kGroups >= 4 ? 64 : 32;
  static constexpr int kStages = kGroups >= 4 ? 4 : 3;
  using A = Tile<BM, kDepth, kAAlongK>;
  using B = Tile<BN, kDepth, kBAlongK>;
  static constexpr int kStage = A::kSize + B::kSize;
  static constexpr int kLine = BN + 1;
  static constexpr int kSums = kGroups * BM * kLine;
  static constexpr int kNumbers = kStages * kStage > kSums ? kStages * kStage : kSums;
};

// A matrix with neighbours along its lines: `row` of `rows` and k of `depth`, which of them is the line is ALONG_K.
template <int ROWS, int DEPTH, bool ALONG_K>
__device__ inline void load_matrix(float* tile, const float* from, int first_row, int rows, int first_k, int depth,
                                   bool in_fours, int thread) {
  using T = Tile<ROWS, DEPTH, ALONG_K>;
  constexpr int kAcross = ALONG_K ? DEPTH : ROWS;
  constexpr int kLines = ALONG_K ? ROWS : DEPTH;
  const int line_0 = ALONG_K ? first_row : first_k;
  const int across_0 = ALONG_K ? first_k : first_row;
  const int lines = ALONG_K ? rows : depth;
  const int across_all = ALONG_K ? depth : rows;
  if (in_fours) {
    constexpr int kFours = kAcross / 4;
#pragma unroll
    for (int i = thread; i < kLines * kFours; i += kThreads) {
      const int line = i / kFours, across = i % kFours * 4;
      const bool there = line_0 + line < lines && across_0 + across < across_all;
      const float* place = there ? from + (size_t)(line_0 + line) * across_all + across_0 + across : from;
      copy_four_later(tile + line * T::kLine + across, place, there);
    }
  } else {
#pragma unroll 4
    for (int i = thread; i < kLines * kAcross; i += kThreads) {
      const int line = i / kAcross, across = i % kAcross;
      const bool there = line_0 + line < lines && across_0 + across < across_all;
      const float* place = there ? from + (size_t)(line_0 + line) * across_all + across_0 + across : from;
      copy_later(tile + line * T::kLine + across, place, there);
    }
  }
}

__device__ inline bool fours(const float* from, int line) { return line % 4 == 0 && (size_t)from % 16 == 0; }

// Images moved by each tap: row = (image, pixel) and k = (channel, tap); neighbours along rows.
template <int ROWS, int DEPTH, int TAPS>
__device__ inline void load_shifted(float* tile, const float* from, int first_row, int rows, int first_k, int depth,
                                    int height, int width, int apart, int thread) {
  using T = Tile<ROWS, DEPTH, false>;
  constexpr int kStep = kThreads / ROWS;
  const int row = thread % ROWS;
  const int pixels = height * width;
  const int image = (first_row + row) / pixels;
  const int pixel = (first_row + row) % pixels;
  const int y = pixel / width, x = pixel % width;
  const bool a_row = first_row + row < rows;
  const float* own = from + (size_t)image * apart + pixel;
#pragma unroll 4
  for (int k = thread / ROWS; k < DEPTH; k += kStep) {
    const int channel = (first_k + k) / TAPS, tap = (first_k + k) % TAPS;
    const int down = TAPS == 9 ? tap / 3 - 1 : 0, right = TAPS == 9 ? tap % 3 - 1 : 0;
    const bool there = a_row && first_k + k < depth && (unsigned)(y + down) < (unsigned)height &&
                       (unsigned)(x + right) < (unsigned)width;
    copy_later(tile + T::at(row, k), there ? own + channel * pixels + down * width + right : from, there);
  }
}

// Filters turned round: row = channel that goes in, k = (channel that comes out, tap).
template <int ROWS, int DEPTH, int TAPS>
__device__ inline void load_turned(float* tile, const float* from, int first_row, int rows, int first_k, int depth,
                                   int thread) {
  using T = Tile<ROWS, DEPTH, true>;
  constexpr int kStep = kThreads / DEPTH;
  const int k = thread % DEPTH;
  const int out = (first_k + k) / TAPS, tap = (first_k + k) % TAPS;
  const float* own = from + (size_t)out * rows * TAPS + (TAPS - 1 - tap);
#pragma unroll 4
  for (int row = thread / DEPTH; row < ROWS; row += kStep) {
    const bool there = first_row + row < rows && first_k + k < depth;
    copy_later(tile + T::at(row, k), there ? own + (first_row + row) * TAPS : from, there);
  }
}

// Images pixel by pixel: row = (channel, tap), k = (image, pixel), neighbours along k. With one tap for channels as they are.
template <int ROWS, int DEPTH, int TAPS>
__device__ inline void load_pixels(float* tile, const float* from, int first_row, int rows, int first_k, int depth,
                                   int height, int width, int apart, int thread) {
  using T = Tile<ROWS, DEPTH, true>;
  constexpr int kStep = kThreads / DEPTH;
  const int k = thread % DEPTH;
  const int pixels = height * width;
  const int image = (first_k + k) / pixels;
  const int pixel = (first_k + k) % pixels;
  const int y = pixel / width, x = pixel % width;
  const bool a_pixel = first_k + k < depth;
  const float* own = from + (size_t)image * apart + pixel;
#pragma unroll 4
  for (int row = thread / DEPTH; row < ROWS; row += kStep) {
    const int channel = (first_row + row) / TAPS, tap = (first_row + row) % TAPS;
    const int down = TAPS == 9 ? tap / 3 - 1 : 0, right = TAPS == 9 ? tap % 3 - 1 : 0;
    const bool there = a_pixel && first_row + row < rows && (unsigned)(y + down) < (unsigned)height &&
                       (unsigned)(x + right) < (unsigned)width;
    copy_later(tile + T::at(row, k), there ? own + channel * pixels + down * width + right : from, there);
  }
}

// Four numbers of four rows each, from k on: rows STRIDE apart where neighbours are along k, else neighbours.
template <class T, bool ALONG_K, int STRIDE>
__device__ inline void four_by_four(float (&part)[4][4], const float* tile, int row, int k) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float4 four = ALONG_K ? *(const float4*)(tile + T::at(row + i * STRIDE, k))
                                : *(const float4*)(tile + T::at(row * 4, k + i));
    const float numbers[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (ALONG_K) {
        part[i][j] = numbers[j];
      } else {
        part[j][i] = numbers[j];
      }
    }
  }
}

// The sums of a block's tile over k from `first_k` to `depth`, in shared memory, [group][row][column] with kLine between rows.
// `load(stage, k)` starts the copies of a stage; `look(stage)` sees each when it is there.
template <int KIND, int BM, int BN, int PRECISION, class Load, class Look>
__device__ inline void tile_sums(float* shared, int first_k, int depth, Load load, Look look) {
  using S = Shape<KIND, BM, BN>;
  constexpr int kDepth = S::kDepth, kStages = S::kStages;
  constexpr int kOwnDepth = kDepth / S::kGroups;
  const int thread = threadIdx.x;
  const int stages = (depth - first_k + kDepth - 1) / kDepth;
  float sums[4][4] = {};
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < stages) load(shared + s * S::kStage, first_k + s * kDepth);
    end_of_copies();
  }
  constexpr int kGroupThreads = kThreads / S::kGroups;
  const int group = thread / kGroupThreads, own = thread % kGroupThreads;
  const int warp = own / 32, lane = own % 32;
  // In f32: a warp has 8 threads along rows where there are as many.
  constexpr int kDown = BM / 4, kRight = BN / 4;
  constexpr int kLanesDown = kDown < 8 ? kDown : 8, kLanesRight = 32 / kLanesDown;
  constexpr int kWarpsDown = kDown / kLanesDown;
  const int down = warp % kWarpsDown * kLanesDown + lane % kLanesDown;
  const int right = warp / kWarpsDown * kLanesRight + lane / kLanesDown;
  // By matrix units: a warp has 16 rows and 32 columns.
  const int warp_row = warp % (BM / 16) * 16, warp_column = warp / (BM / 16) * 32;
  const int eighth = lane / 4, quarter = lane % 4;
  for (int s = 0; s < stages; ++s) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    const int next = s + kStages - 1;
    if (next < stages) load(shared + next % kStages * S::kStage, first_k + next * kDepth);
    end_of_copies();
    const float* a = shared + s % kStages * S::kStage;
    const float* b = a + S::A::kSize;
    look(a);
    if (PRECISION == 0) {
#pragma unroll
      for (int q = 0; q < kOwnDepth; q += 4) {
        const int k = group * kOwnDepth + q;
        float left[4][4], top[4][4];
        four_by_four<typename S::A, S::kAAlongK, kDown>(left, a, down, k);
        four_by_four<typename S::B, S::kBAlongK, kRight>(top, b, right, k);
#pragma unroll
        for (int l = 0; l < 4; ++l)
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(left[i][l], top[j][l], sums[i][j]);
      }
    } else {
#pragma unroll
      for (int q = 0; q < kOwnDepth; q += 8) {
        const int k = group * kOwnDepth + q + quarter;
        const int row = warp_row + eighth;
        const unsigned left[4] = {
            rounded<PRECISION>(a[S::A::at(row, k)]), rounded<PRECISION>(a[S::A::at(row + 8, k)]),
            rounded<PRECISION>(a[S::A::at(row, k + 4)]), rounded<PRECISION>(a[S::A::at(row + 8, k + 4)])};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int column = warp_column + j * 8 + eighth;
          const unsigned top[2] = {rounded<PRECISION>(b[S::B::at(column, k)]),
                                   rounded<PRECISION>(b[S::B::at(column, k + 4)])};
          multiply_add(sums[j], left, top);
        }
      }
    }
  }
  __syncthreads();
  float* result = shared + group * BM * S::kLine;
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      int row, column;
      if (PRECISION == 0) {
        row = S::kAAlongK ? down + i * kDown : down * 4 + i;
        column = S::kBAlongK ? right + j * kRight : right * 4 + j;
      } else {
        row = warp_row + eighth + j / 2 * 8;
        column = warp_column + i * 8 + quarter * 2 + j % 2;
      }
      result[row * S::kLine + column] = sums[i][j];
    }
  __syncthreads();
}

template <int KIND, int BM, int BN>
__device__ inline float sum_of_groups(const float* shared, int row, int column) {
  using S = Shape<KIND, BM, BN>;
  float sum = 0.0f;
#pragma unroll
  for (int g = 0; g < S::kGroups; ++g) sum += shared[(g * BM + row) * S::kLine + column];
  return sum;
}

__device__ inline float leaky(float v, float by, float slope) { return by > 0.0f ? v : slope * v; }

// blockIdx.x counts tiles along m, blockIdx.y along n.
template <int KIND, int BM, int BN, int PRECISION, int TAPS>
__device__ inline void product(const Product& p, float* shared) {
  using S = Shape<KIND, BM, BN>;
  constexpr bool kOfImages = KIND == kFilter || KIND == kFilterBack;
  const int thread = threadIdx.x;
  const int row_0 = blockIdx.x * BM, column_0 = blockIdx.y * BN;
  const bool a_fours = fours(p.a, p.k), b_fours = fours(p.b, KIND == kLayerBack ? p.n : p.k);
  const auto load = [&](float* stage, int k) {
    if (kOfImages) {
      load_shifted<BM, S::kDepth, TAPS>(stage, p.a, row_0, p.m, k, p.k, p.height, p.width, p.images_apart, thread);
    } else {
      load_matrix<BM, S::kDepth, S::kAAlongK>(stage, p.a, row_0, p.m, k, p.k, a_fours, thread);
    }
    if (KIND == kFilterBack) {
      load_turned<BN, S::kDepth, TAPS>(stage + S::A::kSize, p.b, column_0, p.n, k, p.k, thread);
    } else {
      load_matrix<BN, S::kDepth, S::kBAlongK>(stage + S::A::kSize, p.b, column_0, p.n, k, p.k, b_fours, thread);
    }
  };
  tile_sums<KIND, BM, BN, PRECISION>(shared, 0, p.k, load, [](const float*) {});
  const int pixels = kOfImages ? p.height * p.width : 1;
#pragma unroll 4
  for (int i = thread; i < BM * BN; i += kThreads) {
    // Neighbours in memory by neighbouring threads.
    const int row = kOfImages ? i % BM : i / BN, column = kOfImages ? i / BM : i % BN;
    const int m = row_0 + row, n = column_0 + column;
    if (m >= p.m || n >= p.n) continue;
    const int image = kOfImages ? m / pixels : m;
    const size_t place = kOfImages ? ((size_t)image * p.n + n) * pixels + m % pixels : (size_t)m * p.n + n;
    float v = sum_of_groups<KIND, BM, BN>(shared, row, column);
    if (p.bias) v += p.bias[n];
    if (p.shift) v += p.shift[(size_t)image * p.n + n];
    if (p.after & kActivate) v = leaky(v, v, p.slope);
    const float gate = p.gate ? p.gate[place] : 0.0f;
    if (p.after & kGate) v = leaky(v, gate, p.slope);
    if (p.second && (p.after & kEarly)) p.second[place] = v;
    if (p.added) v += p.added[place];
    if (p.first) p.first[place] = v;
    if (p.second && !(p.after & kEarly)) p.second[place] = leaky(v, p.after & kGateLate ? gate : v, p.slope);
  }
}

// blockIdx.x counts tiles of all jobs, splits of a tile one after the other.
template <int KIND, int BM, int BN, int PRECISION>
__device__ inline void gradient(const Gradients& all, float* shared) {
  using S = Shape<KIND, BM, BN>;
  constexpr bool kOfImages = KIND == kFilterGradient;
  const int thread = threadIdx.x;
  int index = 0;
  while (index + 1 < all.count && all.jobs[index + 1].first_block <= (int)blockIdx.x) ++index;
  const Gradients::Job& job = all.jobs[index];
  const int block = blockIdx.x - job.first_block;
  const int split = block % job.splits, tile = block / job.splits;
  const int across = (job.n + BN - 1) / BN;
  const int row_0 = tile / across * BM, column_0 = tile % across * BN;
  // Whole stages, so that no split but the last has an end within one.
  const int each = ((job.k + job.splits - 1) / job.splits + S::kDepth - 1) / S::kDepth * S::kDepth;
  const int first_k = min(split * each, job.k), last_k = min(first_k + each, job.k);
  const bool a_fours = fours(job.grad, job.m), b_fours = fours(job.input, job.n);
  const auto load = [&](float* stage, int k) {
    float* b = stage + S::A::kSize;
    if (kOfImages) {
      load_pixels<BM, S::kDepth, 1>(stage, job.grad, row_0, job.m, k, last_k, job.height, job.width, job.grads_apart,
                                    thread);
      if (job.taps == 9) {
        load_pixels<BN, S::kDepth, 9>(b, job.input, column_0, job.n, k, last_k, job.height, job.width, job.inputs_apart,
                                      thread);
      } else {
        load_pixels<BN, S::kDepth, 1>(b, job.input, column_0, job.n, k, last_k, job.height, job.width, job.inputs_apart,
                                      thread);
      }
    } else {
      load_matrix<BM, S::kDepth, S::kAAlongK>(stage, job.grad, row_0, job.m, k, last_k, a_fours, thread);
      load_matrix<BN, S::kDepth, S::kBAlongK>(b, job.input, column_0, job.n, k, last_k, b_fours, thread);
    }
  };
  // The gradient of the bias, by the blocks of the first column.
  float of_bias = 0.0f;
  const bool sums_bias = job.bias && column_0 == 0 && thread < BM;
  const auto look = [&](const float* a) {
    if (sums_bias) {
#pragma unroll 8
      for (int k = 0; k < S::kDepth; ++k) of_bias += a[S::A::at(thread, k)];
    }
  };
  tile_sums<KIND, BM, BN, PRECISION>(shared, first_k, last_k, load, look);
  const bool parts = kOfImages;
  const int line = parts ? job.n + 1 : job.n;
  float* weight = job.weight + (parts ? (size_t)split * job.m * line : 0);
#pragma unroll 4
  for (int i = thread; i < BM * BN; i += kThreads) {
    const int row = i / BN, column = i % BN;
    const int m = row_0 + row, n = column_0 + column;
    if (m >= job.m || n >= job.n) continue;
    const float v = sum_of_groups<KIND, BM, BN>(shared, row, column);
    float& place = weight[(size_t)m * line + n];
    place = parts ? v : place + v;
  }
  if (sums_bias && row_0 + thread < job.m) {
    if (parts) {
      weight[(size_t)(row_0 + thread) * line + job.n] = of_bias;
    } else {
      job.bias[row_0 + thread] += of_bias;
    }
  }
}

// The parts of split gradients added to where they belong: a thread for each number.
struct Parts {
  struct Job {
    const float* parts;
    float* weight;
    float* bias;
    int m, n, splits;
    int first_block;
  } jobs[Gradients::kMost];
  int count;
};

__device__ inline void add_parts(const Parts& all) {
  int index = 0;
  while (index + 1 < all.count && all.jobs[index + 1].first_block <= (int)blockIdx.x) ++index;
  const Parts::Job& job = all.jobs[index];
  const int each = job.m * (job.n + 1);
  const int i = (blockIdx.x - job.first_block) * kThreads + threadIdx.x;
  if (i >= each) return;
  float sum = 0.0f;
#pragma unroll 4
  for (int s = 0; s < job.splits; ++s) sum += job.parts[(size_t)s * each + i];
  const int m = i / (job.n + 1), n = i % (job.n + 1);
  if (n < job.n) {
    job.weight[(size_t)m * job.n + n] += sum;
  } else if (job.bias) {
    job.bias[m] += sum;
  }
}

#ifdef OF_KIND
extern __shared__ float4 shared_memory[];
#if OF_KIND == 6
extern "C" __global__ void kernel(const __grid_constant__ Parts all) { add_parts(all); }
#elif OF_KIND == 2 || OF_KIND == 5
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Gradients all) {
  gradient<OF_KIND, OF_ROWS, OF_COLUMNS, OF_PRECISION>(all, (float*)shared_memory);
}
#else
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Product p) {
  product<OF_KIND, OF_ROWS, OF_COLUMNS, OF_PRECISION, OF_TAPS>(p, (float*)shared_memory);
}
#endif
#endif
