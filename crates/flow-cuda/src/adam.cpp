// at::_fused_adamw_, by name in the libtorch that is loaded, as in graph.cpp. A tensor is handed over as tch does it: by a
// pointer to an at::Tensor, which is itself one pointer.

#include <dlfcn.h>

#include <cstddef>
#include <cstring>
#include <exception>
#include <vector>

namespace {

// What c10::ArrayRef<at::Tensor> is when it is handed over.
struct List {
  const void* const* tensors;
  std::size_t length;
};

// std::optional<at::Tensor>.
struct Maybe {
  const void* tensor;
  bool there;
};

using Step = void (*)(List parameters, List gradients, List first, List second, List largest, List steps,
                      const void* const& rate, double beta1, double beta2, double decay, double epsilon, bool amsgrad,
                      bool maximize, const Maybe& shrink, const Maybe& skip);

Step found() {
  static const auto step = reinterpret_cast<Step>(
      dlsym(RTLD_DEFAULT,
            "_ZN2at4_ops23_fused_adamw__tensor_lr4callEN3c108ArrayRefINS_6TensorEEES5_S5_S5_S5_S5_RKS4_ddddbb"
            "RKSt8optionalIS4_ESB_"));
  return step;
}

using Tensors = const void* const* const*;

std::vector<const void*> inside(Tensors tensors, std::size_t length) {
  std::vector<const void*> all(length);
  for (std::size_t i = 0; i < length; ++i) {
    all[i] = *tensors[i];
  }
  return all;
}

List list(const std::vector<const void*>& tensors) { return List{tensors.data(), tensors.size()}; }

Maybe maybe(const void* const* tensor) { return tensor == nullptr ? Maybe{nullptr, false} : Maybe{*tensor, true}; }

}  // namespace

extern "C" {

bool flow_cuda_adam_available() { return found() != nullptr; }

bool flow_cuda_adam_step(std::size_t length, Tensors parameters, Tensors gradients, Tensors first, Tensors second,
                         const void* const* step, const void* const* rate, double beta1, double beta2, double decay,
                         double epsilon, const void* const* shrink, const void* const* skip, char* why,
                         std::size_t room) {
  try {
    const auto p = inside(parameters, length);
    const auto g = inside(gradients, length);
    const auto m = inside(first, length);
    const auto v = inside(second, length);
    const std::vector<const void*> steps(length, *step);
    found()(list(p), list(g), list(m), list(v), List{nullptr, 0}, list(steps), *rate, beta1, beta2, decay, epsilon, false,
            false, maybe(shrink), maybe(skip));
    return true;
  } catch (const std::exception& error) {
    std::strncpy(why, error.what(), room - 1);
    why[room - 1] = '\0';
    return false;
  }
}

}  // extern "C"
