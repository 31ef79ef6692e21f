// Matrix products and convolutions, C[m][n] = sum over k of A(m, k) B(n, k), by blocks of 256 threads for a tile of C each.
//
// What A, B and C are is the KIND's business: where a number of theirs lies, and whether there is one (else it is 0). Tiles of
// A and B are copied to shared memory while the tile before is multiplied; a block's threads share a tile out by places and by k
// (GROUPS), so that a small tile, of which there are enough for all processors of the card, still has 256 threads. Every sum is
// taken in one order, whatever else runs: results are the same to the bit from call to call.
//
// PRECISION 0 multiplies in f32; 1 and 2 round factors to TF32 and to bf16, and multiply by the card's matrix units.

// Behind these, where kernels are numbered: 6 add_parts, 7 short_sums, 8 sums_by_warps.
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
                   // then v += added, and first = v
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
  float* first;        // C
  float* second;       // C, if any
  int m, n, k;
  int height, width, taps;  // of convolutions: of an image, and 1 or 9
  int apart;                // numbers from one row of A, or one image of it, to the next
  int after;
  float slope;
};

// Gradients of several layers or filters at once, each tile of each by a block.
struct Gradients {
  static constexpr int kMost = 24;
  struct Job {
    const float* grad;
    const float* input;
    float* weight;  // added to; in several splits the first of as many parts, of m (n + 1) numbers each
    float* bias;    // if any; in several splits the last column of the parts
    int m, n, k;
    int height, width, taps;
    int grads_apart, inputs_apart;  // from one row or image to the next
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

// How 256 threads share out a tile of BM times BN and its depth.
template <int KIND, int BM, int BN, int PRECISION>
struct Shape {
  static constexpr bool kAAlongK = KIND == kLayer || KIND == kLayerBack || KIND == kFilterGradient;
  static constexpr bool kBAlongK = KIND != kLayerBack && KIND != kLayerGradient;
  // In f32 a thread has so many rows and columns: each number that it reads from shared memory is used as often.
  static constexpr int kOwnRows = BM == 16 ? 4 : 8;
  static constexpr int kOwnColumns = BM <= 32 ? 4 : 8;
  // By matrix units a warp has 32 columns and so many rows.
  static constexpr int kWarpRows = BM == 16 ? 16 : 32;
  static constexpr int kGroupThreads =
      PRECISION == 0 ? BM / kOwnRows * (BN / kOwnColumns) : BM / kWarpRows * (BN / 32) * 32;
  static constexpr int kGroups = kThreads / kGroupThreads;
  // Of gradients of layers sums are short, which are over rows.
  static constexpr int kDepth = KIND == kLayerGradient && kGroups <= 4 ? 32 : 64;
  static constexpr int kStages = BM == 64 && kDepth == 64 ? 3 : 4;
  using A = Tile<BM, kDepth, kAAlongK>;
  using B = Tile<BN, kDepth, kBAlongK>;
  static constexpr int kStage = A::kSize + B::kSize;
  static constexpr int kLine = BN + 1;
  static constexpr int kSums = kGroups * BM * kLine;
  static constexpr int kNumbers = kStages * kStage > kSums ? kStages * kStage : kSums;
};

// The loaders below copy a tile's part of an operand, `rows` by `depth`, stage after stage, by a `load` for each in turn. What a
// thread can know before the first stage it finds out when the loader is made.

__device__ inline bool fours(const float* from, int line) { return line % 4 == 0 && (size_t)from % 16 == 0; }

// Number by number, where nothing better can be done.
template <int ROWS, int DEPTH, bool ALONG_K>
#ifndef EMULATED
__noinline__
#endif
__device__ void load_singly(float* tile, const float* from, int first_row, int rows, int k, int depth, int apart) {
  using T = Tile<ROWS, DEPTH, ALONG_K>;
  constexpr int kAcross = ALONG_K ? DEPTH : ROWS;
  const int across = threadIdx.x % kAcross;
#pragma unroll 4
  for (int line = threadIdx.x / kAcross; line < ROWS * DEPTH / kAcross; line += kThreads / kAcross) {
    const int row = first_row + (ALONG_K ? line : across), at = k + (ALONG_K ? across : line);
    const bool there = row < rows && at < depth;
    const size_t place = ALONG_K ? (size_t)row * apart + at : (size_t)at * apart + row;
    copy_later(tile + line * T::kLine + across, there ? from + place : from, there);
  }
}

// A matrix in lines along k or along rows, `apart` from one another. Of lines along rows `depth` may be where a split ends.
template <int ROWS, int DEPTH, bool ALONG_K>
struct MatrixLoader {
  using T = Tile<ROWS, DEPTH, ALONG_K>;
  static constexpr int kFours = (ALONG_K ? DEPTH : ROWS) / 4;
  static constexpr int kLinesApart = kThreads / kFours;
  static constexpr int kCount = ROWS * DEPTH / 4 / kThreads;
  const float* from;
  const float* place;
  int line, across, first_row, rows, depth, apart;
  bool in_fours;

  __device__ MatrixLoader(const float* from, int first_row, int rows, int first_k, int depth, int apart)
      : from(from), first_row(first_row), rows(rows), depth(depth), apart(apart) {
    line = threadIdx.x / kFours;
    across = threadIdx.x % kFours * 4;
    // What is beyond a line's end is not 0.
    in_fours = fours(from, apart) && (ALONG_K ? depth : rows) % 4 == 0;
    place = from + (ALONG_K ? (size_t)(first_row + line) * apart + first_k + across
                            : (size_t)(first_k + line) * apart + first_row + across);
  }

  __device__ void load(float* tile, int k) {
    if (!in_fours) return load_singly<ROWS, DEPTH, ALONG_K>(tile, from, first_row, rows, k, depth, apart);
    float* to = tile + line * T::kLine + across;
    const float* own = place;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int at_line = line + j * kLinesApart;
      const bool there = ALONG_K ? first_row + at_line < rows && k + across < depth
                                 : k + at_line < depth && first_row + across < rows;
      copy_four_later(to + j * kLinesApart * T::kLine, there ? own : from, there);
      own += (size_t)kLinesApart * apart;
    }
    place += ALONG_K ? (size_t)DEPTH : (size_t)DEPTH * apart;
  }
};

// Which of the nine taps around a pixel are in the image, a bit for each.
__device__ inline int taps_inside(int y, int x, int height, int width) {
  const int right = 2 | (x > 0 ? 1 : 0) | (x + 1 < width ? 4 : 0);
  return right << 3 | (y > 0 ? right : 0) | (y + 1 < height ? right << 6 : 0);
}

// Images moved by each tap: row = (image, pixel) and k = (channel, tap); neighbours along rows.
template <int ROWS, int DEPTH, int TAPS>
struct ShiftedLoader {
  using T = Tile<ROWS, DEPTH, false>;
  static constexpr int kApart = kThreads / ROWS;
  static constexpr int kCount = DEPTH / kApart;
  const float* from;
  const float* own;
  int inside, pixels, width, depth;

  __device__ ShiftedLoader(const float* from, int first_row, int rows, int depth, int height, int width, int apart)
      : from(from), width(width), depth(depth) {
    const int row = first_row + threadIdx.x % ROWS;
    pixels = height * width;
    const int image = row / pixels, pixel = row % pixels;
    const int y = pixel / width, x = pixel % width;
    inside = row >= rows ? 0 : TAPS == 9 ? taps_inside(y, x, height, width) : 1;
    own = from + (size_t)image * apart + pixel;
  }

  __device__ void load(float* tile, int k) {
    float* to = tile + threadIdx.x % ROWS + threadIdx.x / ROWS * T::kLine;
    const int first = k + threadIdx.x / ROWS;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int at = first + j * kApart;
      const int channel = at / TAPS, tap = at % TAPS;
      const int moved = TAPS == 9 ? (tap / 3 - 1) * width + tap % 3 - 1 : 0;
      const bool there = at < depth && (inside >> tap & 1);
      copy_later(to + j * kApart * T::kLine, there ? own + channel * pixels + moved : from, there);
    }
  }
};

// Filters turned round: row = channel that goes in, k = (channel that comes out, tap).
template <int ROWS, int DEPTH, int TAPS>
struct TurnedLoader {
  using T = Tile<ROWS, DEPTH, true>;
  static constexpr int kApart = kThreads / DEPTH;
  static constexpr int kCount = ROWS / kApart;
  const float* from;
  int first_row, rows, depth;

  __device__ TurnedLoader(const float* from, int first_row, int rows, int depth)
      : from(from), first_row(first_row + threadIdx.x / DEPTH), rows(rows), depth(depth) {}

  __device__ void load(float* tile, int k) {
    const int at = k + threadIdx.x % DEPTH;
    const int out = at / TAPS, tap = at % TAPS;
    const float* own = from + (size_t)(out * rows + first_row) * TAPS + (TAPS - 1 - tap);
    float* to = tile + threadIdx.x / DEPTH * T::kLine + threadIdx.x % DEPTH;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const bool there = first_row + j * kApart < rows && at < depth;
      copy_later(to + j * kApart * T::kLine, there ? own + j * kApart * TAPS : from, there);
    }
  }
};

// Images pixel by pixel: row = (channel, tap), k = (image, pixel), neighbours along k. With one tap for channels as they are.
template <int ROWS, int DEPTH>
struct PixelsLoader {
  using T = Tile<ROWS, DEPTH, true>;
  static constexpr int kApart = kThreads / DEPTH;
  static constexpr int kCount = ROWS / kApart;
  const float* from;
  int last_k, height, width, pixels, apart, taps;
  int offset[kCount];
  // The bit of a row's tap; none of a row that is not there.
  int bit[kCount];

  __device__ PixelsLoader(const float* from, int first_row, int rows, int last_k, int height, int width, int apart, int taps)
      : from(from), last_k(last_k), height(height), width(width), apart(apart), taps(taps) {
    pixels = height * width;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int row = first_row + threadIdx.x / DEPTH + j * kApart;
      const int channel = taps == 9 ? row / 9 : row, tap = taps == 9 ? row % 9 : 4;
      offset[j] = channel * pixels + (tap / 3 - 1) * width + tap % 3 - 1;
      bit[j] = row < rows ? 1 << tap : 0;
    }
  }

  __device__ void load(float* tile, int k) {
    const int at = k + threadIdx.x % DEPTH;
    const int image = at / pixels, pixel = at % pixels;
    const int inside = at < last_k ? taps_inside(pixel / width, pixel % width, height, width) : 0;
    const float* own = from + (size_t)image * apart + pixel;
    float* to = tile + threadIdx.x / DEPTH * T::kLine + threadIdx.x % DEPTH;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const bool there = inside & bit[j];
      copy_later(to + j * kApart * T::kLine, there ? own + offset[j] : from, there);
    }
  }
};

// Four numbers of each of COUNT rows, from k on: rows APART apart where neighbours are along k, else neighbours.
template <class T, bool ALONG_K, int COUNT, int APART>
__device__ inline void some_by_four(float (&part)[COUNT][4], const float* tile, int row, int k) {
  if (ALONG_K) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const float4 four = *(const float4*)(tile + T::at(row + i * APART, k));
      part[i][0] = four.x, part[i][1] = four.y, part[i][2] = four.z, part[i][3] = four.w;
    }
  } else {
#pragma unroll
    for (int l = 0; l < 4; ++l)
#pragma unroll
      for (int i = 0; i < COUNT; i += 4) {
        const float4 four = *(const float4*)(tile + T::at(row * 4 + i * APART, k + l));
        part[i][l] = four.x, part[i + 1][l] = four.y, part[i + 2][l] = four.z, part[i + 3][l] = four.w;
      }
  }
}

// Which row of the tile the i-th of a thread's is; as some_by_four has it.
template <bool ALONG_K, int APART>
__device__ inline int own_row(int row, int i) {
  return ALONG_K ? row + i * APART : row * 4 + i / 4 * 4 * APART + i % 4;
}

// The sums of a block's tile over k from `first_k` to `last_k`, in shared memory, [group][row][column] with kLine between rows.
// `look(a)` sees each stage of A when it is there.
template <int KIND, int BM, int BN, int PRECISION, class LoadA, class LoadB, class Look>
__device__ inline void tile_sums(float* shared, int first_k, int last_k, LoadA& load_a, LoadB& load_b, Look look) {
  using S = Shape<KIND, BM, BN, PRECISION>;
  constexpr int kDepth = S::kDepth, kStages = S::kStages;
  constexpr int kOwnDepth = kDepth / S::kGroups;
  const int stages = (last_k - first_k + kDepth - 1) / kDepth;
  const auto load = [&](int stage) {
    float* to = shared + stage % kStages * S::kStage;
    load_a.load(to, first_k + stage * kDepth);
    load_b.load(to + S::A::kSize, first_k + stage * kDepth);
  };
#pragma unroll 1
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < stages) load(s);
    end_of_copies();
  }
  const int group = threadIdx.x / S::kGroupThreads, own = threadIdx.x % S::kGroupThreads;
  const int warp = own / 32, lane = own % 32;
  // In f32: a warp has 8 threads along rows where there are as many.
  constexpr int kDown = BM / S::kOwnRows, kRight = BN / S::kOwnColumns;
  constexpr int kLanesDown = kDown < 8 ? kDown : 8, kLanesRight = 32 / kLanesDown;
  constexpr int kWarpsDown = kDown / kLanesDown;
  const int down = warp % kWarpsDown * kLanesDown + lane % kLanesDown;
  const int right = warp / kWarpsDown * kLanesRight + lane / kLanesDown;
  // By matrix units.
  constexpr int kBands = S::kWarpRows / 16;
  const int warp_row = warp % (BM / S::kWarpRows) * S::kWarpRows, warp_column = warp / (BM / S::kWarpRows) * 32;
  const int eighth = lane / 4, quarter = lane % 4;
  float sums[PRECISION == 0 ? S::kOwnRows : 1][S::kOwnColumns] = {};
  float bands[PRECISION == 0 ? 1 : kBands][4][4] = {};
#pragma unroll 1
  for (int s = 0; s < stages; ++s) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    if (s + kStages - 1 < stages) load(s + kStages - 1);
    end_of_copies();
    const float* a = shared + s % kStages * S::kStage;
    const float* b = a + S::A::kSize;
    look(a);
    if constexpr (PRECISION == 0) {
#pragma unroll 2
      for (int q = 0; q < kOwnDepth; q += 4) {
        const int k = group * kOwnDepth + q;
        float left[S::kOwnRows][4], top[S::kOwnColumns][4];
        some_by_four<typename S::A, S::kAAlongK, S::kOwnRows, kDown>(left, a, down, k);
        some_by_four<typename S::B, S::kBAlongK, S::kOwnColumns, kRight>(top, b, right, k);
#pragma unroll
        for (int l = 0; l < 4; ++l)
#pragma unroll
          for (int i = 0; i < S::kOwnRows; ++i)
#pragma unroll
            for (int j = 0; j < S::kOwnColumns; ++j) sums[i][j] = fmaf(left[i][l], top[j][l], sums[i][j]);
      }
    } else {
#pragma unroll
      for (int q = 0; q < kOwnDepth; q += 8) {
        const int k = group * kOwnDepth + q + quarter;
        unsigned left[kBands][4];
#pragma unroll
        for (int i = 0; i < kBands; ++i) {
          const int row = warp_row + i * 16 + eighth;
          left[i][0] = rounded<PRECISION>(a[S::A::at(row, k)]);
          left[i][1] = rounded<PRECISION>(a[S::A::at(row + 8, k)]);
          left[i][2] = rounded<PRECISION>(a[S::A::at(row, k + 4)]);
          left[i][3] = rounded<PRECISION>(a[S::A::at(row + 8, k + 4)]);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int column = warp_column + j * 8 + eighth;
          const unsigned top[2] = {rounded<PRECISION>(b[S::B::at(column, k)]),
                                   rounded<PRECISION>(b[S::B::at(column, k + 4)])};
#pragma unroll
          for (int i = 0; i < kBands; ++i) multiply_add(bands[i][j], left[i], top);
        }
      }
    }
  }
  __syncthreads();
  float* result = shared + group * BM * S::kLine;
  if constexpr (PRECISION == 0) {
#pragma unroll
    for (int i = 0; i < S::kOwnRows; ++i)
#pragma unroll
      for (int j = 0; j < S::kOwnColumns; ++j) {
        result[own_row<S::kAAlongK, kDown>(down, i) * S::kLine + own_row<S::kBAlongK, kRight>(right, j)] = sums[i][j];
      }
  } else {
#pragma unroll
    for (int i = 0; i < kBands; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int l = 0; l < 4; ++l) {
          const int row = warp_row + i * 16 + eighth + l / 2 * 8, column = warp_column + j * 8 + quarter * 2 + l % 2;
          result[row * S::kLine + column] = bands[i][j][l];
        }
  }
  __syncthreads();
}

template <int KIND, int BM, int BN, int PRECISION>
__device__ inline float sum_of_groups(const float* shared, int row, int column) {
  using S = Shape<KIND, BM, BN, PRECISION>;
  float sum = 0.0f;
#pragma unroll
  for (int g = 0; g < S::kGroups; ++g) sum += shared[(g * BM + row) * S::kLine + column];
  return sum;
}

__device__ inline float leaky(float v, float by, float slope) { return by > 0.0f ? v : slope * v; }

// blockIdx.x counts tiles along m, and then along n.
template <int KIND, int BM, int BN, int PRECISION, int TAPS>
__device__ inline void product(const Product& p, float* shared) {
  using S = Shape<KIND, BM, BN, PRECISION>;
  constexpr bool kOfImages = KIND == kFilter || KIND == kFilterBack;
  const int thread = threadIdx.x;
  const int tiles_down = (p.m + BM - 1) / BM;
  const int row_0 = (int)blockIdx.x % tiles_down * BM, column_0 = (int)blockIdx.x / tiles_down * BN;
  const auto nothing = [](const float*) {};
  if constexpr (kOfImages) {
    ShiftedLoader<BM, S::kDepth, TAPS> a(p.a, row_0, p.m, p.k, p.height, p.width, p.apart);
    if constexpr (KIND == kFilterBack) {
      TurnedLoader<BN, S::kDepth, TAPS> b(p.b, column_0, p.n, p.k);
      tile_sums<KIND, BM, BN, PRECISION>(shared, 0, p.k, a, b, nothing);
    } else {
      MatrixLoader<BN, S::kDepth, true> b(p.b, column_0, p.n, 0, p.k, p.k);
      tile_sums<KIND, BM, BN, PRECISION>(shared, 0, p.k, a, b, nothing);
    }
  } else {
    MatrixLoader<BM, S::kDepth, S::kAAlongK> a(p.a, row_0, p.m, 0, p.k, p.apart);
    MatrixLoader<BN, S::kDepth, S::kBAlongK> b(p.b, column_0, p.n, 0, p.k, KIND == kLayerBack ? p.n : p.k);
    tile_sums<KIND, BM, BN, PRECISION>(shared, 0, p.k, a, b, nothing);
  }
  const int pixels = kOfImages ? p.height * p.width : 1;
  // All that is read of a batch of numbers is asked for before the first is waited for.
  constexpr int kEach = BM * BN / kThreads, kBatch = kEach < 8 ? kEach : 8;
#pragma unroll
  for (int first = 0; first < kEach; first += kBatch) {
    size_t place[kBatch];
    bool there[kBatch];
    float v[kBatch], gate[kBatch], added[kBatch];
#pragma unroll
    for (int l = 0; l < kBatch; ++l) {
      const int i = thread + (first + l) * kThreads;
      // Neighbours in memory by neighbouring threads.
      const int row = kOfImages ? i % BM : i / BN, column = kOfImages ? i / BM : i % BN;
      const int m = row_0 + row, n = column_0 + column;
      there[l] = m < p.m && n < p.n;
      const int image = kOfImages ? m / pixels : m;
      place[l] = kOfImages ? ((size_t)image * p.n + n) * pixels + m % pixels : (size_t)m * p.n + n;
      v[l] = sum_of_groups<KIND, BM, BN, PRECISION>(shared, row, column);
      v[l] += there[l] && p.bias ? p.bias[n] : 0.0f;
      v[l] += kOfImages && there[l] && p.shift ? p.shift[(size_t)image * p.n + n] : 0.0f;
      gate[l] = there[l] && p.gate ? p.gate[place[l]] : 0.0f;
      added[l] = there[l] && p.added ? p.added[place[l]] : 0.0f;
    }
#pragma unroll
    for (int l = 0; l < kBatch; ++l) {
      if (p.after & kActivate) v[l] = leaky(v[l], v[l], p.slope);
      if (p.after & kGate) v[l] = leaky(v[l], gate[l], p.slope);
      const float early = v[l];
      v[l] += added[l];
      const float late = leaky(v[l], p.after & kGateLate ? gate[l] : v[l], p.slope);
      if (there[l]) p.first[place[l]] = v[l];
      if (there[l] && p.second) p.second[place[l]] = p.after & kEarly ? early : late;
    }
  }
}

__device__ inline float as_number(unsigned bits) {
#ifdef EMULATED
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
#else
  return __uint_as_float(bits);
#endif
}

template <int PRECISION>
__device__ inline float factor(float x) {
  return PRECISION == 0 ? x : as_number(rounded<PRECISION == 0 ? 1 : PRECISION>(x));
}

// One number of a layer's C, when its sum is there.
__device__ inline void finish(const Product& p, float v, int m, int n) {
  const size_t place = (size_t)m * p.n + n;
  const float gate = p.gate ? p.gate[place] : 0.0f, added = p.added ? p.added[place] : 0.0f;
  if (p.bias) v += p.bias[n];
  if (p.after & kActivate) v = leaky(v, v, p.slope);
  if (p.after & kGate) v = leaky(v, gate, p.slope);
  const float early = v;
  v += added;
  p.first[place] = v;
  if (p.second) p.second[place] = p.after & kEarly ? early : leaky(v, p.after & kGateLate ? gate : v, p.slope);
}

// Of few factors a number: a thread for each number of C. B lies as KIND has it.
template <int KIND, int PRECISION>
__device__ inline void short_sums(const Product& p) {
  const long long i = (long long)blockIdx.x * kThreads + threadIdx.x;
  if (i >= (long long)p.m * p.n) return;
  const int m = (int)(i / p.n), n = (int)(i % p.n);
  float v = 0.0f;
  for (int k = 0; k < p.k; ++k) {
    const float b = p.b[KIND == kLayer ? (size_t)n * p.k + k : (size_t)k * p.n + n];
    v = fmaf(factor<PRECISION>(p.a[(size_t)m * p.apart + k]), factor<PRECISION>(b), v);
  }
  finish(p, v, m, n);
}

// Of few rows or columns: a warp for each number of C.
template <int KIND, int PRECISION>
__device__ inline void sums_by_warps(const Product& p) {
  const long long i = (long long)blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  const bool there = i < (long long)p.m * p.n;
  const int m = there ? (int)(i / p.n) : 0, n = there ? (int)(i % p.n) : 0;
  const float* a = p.a + (size_t)m * p.apart;
  const float* b = p.b + (KIND == kLayer ? (size_t)n * p.k : (size_t)n);
  const int apart = KIND == kLayer ? 1 : p.n;
  float v = 0.0f;
#pragma unroll 8
  for (int k = threadIdx.x % 32; k < p.k; k += 32) {
    v = fmaf(factor<PRECISION>(a[k]), factor<PRECISION>(b[(size_t)k * apart]), v);
  }
  v = sum_of_warp(v);
  if (there && threadIdx.x % 32 == 0) finish(p, v, m, n);
}

// blockIdx.x counts tiles of all jobs, splits of a tile one after the other.
template <int KIND, int BM, int BN, int PRECISION>
__device__ inline void gradient(const Gradients& all, float* shared) {
  using S = Shape<KIND, BM, BN, PRECISION>;
  constexpr bool kOfImages = KIND == kFilterGradient;
  const int thread = threadIdx.x;
  int index = 0;
  while (index + 1 < all.count && all.jobs[index + 1].first_block <= (int)blockIdx.x) ++index;
  const Gradients::Job& job = all.jobs[index];
  const int block = blockIdx.x - job.first_block;
  const int split = block % job.splits, tile = block / job.splits;
  const int across = max((job.n + BN - 1) / BN, 1);
  const int row_0 = tile / across * BM, column_0 = tile % across * BN;
  // Whole stages, so that no split but the last has an end within one.
  const int each = ((job.k + job.splits - 1) / job.splits + S::kDepth - 1) / S::kDepth * S::kDepth;
  const int first_k = min(split * each, job.k), last_k = min(first_k + each, job.k);
  // The gradient of the bias, by the blocks of the first column.
  float of_bias = 0.0f;
  const bool sums_bias = job.bias && column_0 == 0 && thread < BM;
  const auto look = [&](const float* a) {
    if (sums_bias) {
#pragma unroll 8
      for (int k = 0; k < S::kDepth; ++k) of_bias += a[S::A::at(thread, k)];
    }
  };
  if constexpr (kOfImages) {
    PixelsLoader<BM, S::kDepth> a(job.grad, row_0, job.m, last_k, job.height, job.width, job.grads_apart, 1);
    PixelsLoader<BN, S::kDepth> b(job.input, column_0, job.n, last_k, job.height, job.width, job.inputs_apart, job.taps);
    tile_sums<KIND, BM, BN, PRECISION>(shared, first_k, last_k, a, b, look);
  } else {
    MatrixLoader<BM, S::kDepth, S::kAAlongK> a(job.grad, row_0, job.m, first_k, last_k, job.grads_apart);
    MatrixLoader<BN, S::kDepth, S::kBAlongK> b(job.input, column_0, job.n, first_k, last_k, job.inputs_apart);
    tile_sums<KIND, BM, BN, PRECISION>(shared, first_k, last_k, a, b, look);
  }
  const bool parts = job.splits > 1;
  const int line = parts ? job.n + 1 : job.n;
  float* weight = job.weight + (parts ? (size_t)split * job.m * line : 0);
#pragma unroll 4
  for (int i = thread; i < BM * BN; i += kThreads) {
    const int row = i / BN, column = i % BN;
    const int m = row_0 + row, n = column_0 + column;
    if (m >= job.m || n >= job.n) continue;
    const float v = sum_of_groups<KIND, BM, BN, PRECISION>(shared, row, column);
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
#if OF_KIND == 7
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Product p) {
  short_sums<OF_ROWS, OF_PRECISION>(p);
}
#elif OF_KIND == 8
extern "C" __global__ void __launch_bounds__(256) kernel(const __grid_constant__ Product p) {
  sums_by_warps<OF_ROWS, OF_PRECISION>(p);
}
#elif OF_KIND == 6
extern "C" __global__ void kernel(const __grid_constant__ Parts all) { add_parts(all); }
#elif OF_KIND == 2 || OF_KIND == 5
extern "C" __global__ void __launch_bounds__(256, 2) kernel(const __grid_constant__ Gradients all) {
  gradient<OF_KIND, OF_ROWS, OF_COLUMNS, OF_PRECISION>(all, (float*)shared_memory);
}
#else
// A large tile's numbers want all registers; of others two blocks share a processor.
extern "C" __global__ void __launch_bounds__(256, OF_KIND == 0 && OF_ROWS == 64 ? 1 : 2)
    kernel(const __grid_constant__ Product p) {
  product<OF_KIND, OF_ROWS, OF_COLUMNS, OF_PRECISION, OF_TAPS>(p, (float*)shared_memory);
}
#endif
#endif
