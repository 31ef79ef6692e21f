// The kernels on the processor, by the options that they are compiled with for a GPU.

#include "emulated.hpp"

#include "sums.cuh"

#include "products.cu"

#include "spline.cu"

#include "adam.cu"

#include "coupling.cu"

#include "mixing.cu"

namespace {

alignas(16) float shared_numbers[1 << 16];

// Shared memory holds nothing of the block before.
void spoil() { std::fill(std::begin(shared_numbers), std::end(shared_numbers), NAN); }

using Kernel = void (*)(const void*);

// A kernel and the numbers of shared memory that it uses.
struct Found {
  Kernel kernel;
  int numbers;
};

template <int KIND, int BM, int BN, int PRECISION>
Found product_of(int taps) {
  constexpr int kNumbers = Shape<KIND, BM, BN, PRECISION>::kNumbers;
  static_assert(kNumbers <= 1 << 16, "there is as much");
  if constexpr (KIND == kLayerGradient || KIND == kFilterGradient) {
    return {[](const void* p) { gradient<KIND, BM, BN, PRECISION>(*static_cast<const Gradients*>(p), shared_numbers); },
            kNumbers};
  } else if (taps == 9) {
    return {[](const void* p) { product<KIND, BM, BN, PRECISION, 9>(*static_cast<const Product*>(p), shared_numbers); },
            kNumbers};
  } else {
    return {[](const void* p) { product<KIND, BM, BN, PRECISION, 1>(*static_cast<const Product*>(p), shared_numbers); },
            kNumbers};
  }
}

template <int KIND, int BM, int BN>
Found of_tile(int precision, int taps) {
  switch (precision) {
    case 0: return product_of<KIND, BM, BN, 0>(taps);
    case 1: return product_of<KIND, BM, BN, 1>(taps);
    default: return product_of<KIND, BM, BN, 2>(taps);
  }
}

template <int KIND>
Found of_kind(int rows, int columns, int precision, int taps) {
  if (rows == 64 && columns == 64) return of_tile<KIND, 64, 64>(precision, taps);
  if (rows == 64) return of_tile<KIND, 64, 32>(precision, taps);
  if (rows == 32) return of_tile<KIND, 32, 32>(precision, taps);
  return of_tile<KIND, 16, 32>(precision, taps);
}

template <int KIND>
Found thin_by(int of, int precision) {
  const bool is_short = of == 7;
  switch (precision) {
    case 0: return {is_short ? Kernel([](const void* p) { short_sums<KIND, 0>(*static_cast<const Product*>(p)); })
                             : Kernel([](const void* p) { sums_by_warps<KIND, 0>(*static_cast<const Product*>(p)); }), 0};
    case 1: return {is_short ? Kernel([](const void* p) { short_sums<KIND, 1>(*static_cast<const Product*>(p)); })
                             : Kernel([](const void* p) { sums_by_warps<KIND, 1>(*static_cast<const Product*>(p)); }), 0};
    default: return {is_short ? Kernel([](const void* p) { short_sums<KIND, 2>(*static_cast<const Product*>(p)); })
                              : Kernel([](const void* p) { sums_by_warps<KIND, 2>(*static_cast<const Product*>(p)); }), 0};
  }
}

Found product_by(const int* o) {
  switch (o[0]) {
    case 7:
    case 8: return o[1] == kLayer ? thin_by<kLayer>(o[0], o[3]) : thin_by<kLayerBack>(o[0], o[3]);
    case 0: return of_kind<0>(o[1], o[2], o[3], o[4]);
    case 1: return of_kind<1>(o[1], o[2], o[3], o[4]);
    case 2: return of_kind<2>(o[1], o[2], o[3], o[4]);
    case 3: return of_kind<3>(o[1], o[2], o[3], o[4]);
    case 4: return of_kind<4>(o[1], o[2], o[3], o[4]);
    case 5: return of_kind<5>(o[1], o[2], o[3], o[4]);
    default: return {[](const void* p) { add_parts(*static_cast<const Parts*>(p)); }, 0};
  }
}

Kernel spline_by(const int* o) {
  switch (o[0]) {
    case 0: return [](const void* p) { spline_forward<8>(*static_cast<const Spline*>(p)); };
    case 1: return [](const void* p) { spline_inverse<8>(*static_cast<const Spline*>(p)); };
    default: return [](const void* p) { spline_backward<8>(*static_cast<const Spline*>(p)); };
  }
}

template <bool WIDE>
Kernel coupling_of(int way) {
  switch (way) {
    case 0: return [](const void* p) { couple<false, WIDE>(*static_cast<const Coupling*>(p), shared_numbers); };
    case 1: return [](const void* p) { couple<true, WIDE>(*static_cast<const Coupling*>(p), shared_numbers); };
    case 2: return [](const void* p) { couple_parameters_back<WIDE>(*static_cast<const Coupling*>(p)); };
    default: return [](const void* p) { couple_back<WIDE>(*static_cast<const Coupling*>(p)); };
  }
}

Kernel coupling_by(const int* o) {
  return o[1] != 0 ? coupling_of<true>(o[0]) : coupling_of<false>(o[0]);
}

Kernel mixing_by(const int* o) {
  switch (o[0]) {
    case 0: return [](const void* p) { act_norm<false>(*static_cast<const ActNorm*>(p), shared_numbers); };
    case 1: return [](const void* p) { act_norm<true>(*static_cast<const ActNorm*>(p), shared_numbers); };
    case 2: return [](const void* p) { act_norm_back(*static_cast<const ActNorm*>(p), shared_numbers); };
    case 3: return [](const void* p) { lu_matrix(*static_cast<const Lu*>(p), shared_numbers); };
    default: return [](const void* p) { lu_back(*static_cast<const Lu*>(p), shared_numbers); };
  }
}

Kernel kernel_by(int source, const int* o) {
  switch (source) {
    case 0: return product_by(o).kernel;
    case 1: return spline_by(o);
    case 2: return [](const void* p) { adam(*static_cast<const Adam*>(p)); };
    case 3: return coupling_by(o);
    default: return mixing_by(o);
  }
}

}  // namespace

// One block after the other. `source` counts products.cu, spline.cu (of 8 bins alone), adam.cu, coupling.cu,
// mixing.cu.
extern "C" void flow_cuda_emulate(int source, const int* options, unsigned blocks, const void* arguments) {
  const Kernel kernel = kernel_by(source, options);
  for (unsigned block = 0; block < blocks; ++block) {
    blockIdx = {block, 0, 0};
    spoil();
    emulated::hands = {};
    for (auto& copies : emulated::copies) copies = {};
    emulated::run_block(256, [&] { kernel(arguments); });
    for (const auto& copies : emulated::copies) {
      if (!copies.done()) std::abort();
    }
  }
}

// Numbers of shared memory that a kernel of products.cu uses.
extern "C" int flow_cuda_emulate_shared(const int* options) { return product_by(options).numbers; }
