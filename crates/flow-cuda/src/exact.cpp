// Switches of at::Context, by name in the libtorch that is loaded, as in graph.cpp.

#include <dlfcn.h>

namespace {

template <class Function>
Function named(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace

extern "C" void flow_cuda_round_to_tf32(bool allowed) {
  const auto context = named<void* (*)()>("_ZN2at13globalContextEv");
  const auto products = named<void (*)(void*, bool)>("_ZN2at7Context18setAllowTF32CuBLASEb");
  const auto convolutions = named<void (*)(void*, bool)>("_ZN2at7Context17setAllowTF32CuDNNEb");
  if (context == nullptr || products == nullptr || convolutions == nullptr) {
    return;
  }
  try {
    products(context(), allowed);
    convolutions(context(), allowed);
  } catch (...) {
  }
}

extern "C" bool flow_cuda_exact_convolutions() {
  const auto context = named<void* (*)()>("_ZN2at13globalContextEv");
  const auto allow_tf32 = named<void (*)(void*, bool)>("_ZN2at7Context17setAllowTF32CuDNNEb");
  const auto deterministic = named<void (*)(void*, bool)>("_ZN2at7Context21setDeterministicCuDNNEb");
  if (context == nullptr || allow_tf32 == nullptr || deterministic == nullptr) {
    return false;
  }
  try {
    allow_tf32(context(), false);
    deterministic(context(), true);
    return true;
  } catch (...) {
    return false;
  }
}
