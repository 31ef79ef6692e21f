// Kernels compiled when they are first wanted, by NVRTC, for the GPU that is there. NVRTC and the driver are found by name in
// libcaffe2_nvrtc.so, which lies beside libtorch_cuda.so and brings both in; without CUDA's headers, as in graph.cpp.

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace {

struct Stream {
  std::int64_t device, id;
};

struct Functions {
  // NVRTC
  int (*version)(int* major, int* minor);
  int (*create)(void** program, const char* source, const char* name, int, const char* const*, const char* const*);
  int (*compile)(void* program, int count, const char* const* options);
  int (*log_size)(void* program, std::size_t*);
  int (*log)(void* program, char*);
  int (*size)(void* program, std::size_t*);
  int (*code)(void* program, char*);
  int (*destroy)(void** program);
  // The driver
  int (*device)(int* device, int ordinal);
  int (*attribute)(int* value, int attribute, int device);
  int (*retain)(void** context, int device);
  int (*push)(void* context);
  int (*pop)(void** context);
  int (*load)(void** module, const void* image);
  int (*function)(void** function, void* module, const char* name);
  int (*allow)(void* function, int attribute, int value);
  int (*launch)(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void* stream,
                void** arguments, void** extra);
  // libtorch
  Stream (*current)(std::int8_t);
  void* (*stream)(const Stream*);
  bool complete;

  Functions() : complete(false) {
    Dl_info info;
    void* graph = dlsym(RTLD_DEFAULT, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
    if (graph == nullptr || dladdr(graph, &info) == 0) return;
    const std::string path = info.dli_fname;
    const std::string beside = path.substr(0, path.rfind('/') + 1) + "libcaffe2_nvrtc.so";
    void* library = dlopen(beside.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) return;
    const auto find = [](void* from, auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(from, name));
      return function != nullptr;
    };
    complete = find(library, version, "nvrtcVersion") && find(library, create, "nvrtcCreateProgram") && find(library, compile, "nvrtcCompileProgram") &&
               find(library, log_size, "nvrtcGetProgramLogSize") && find(library, log, "nvrtcGetProgramLog") &&
               find(library, size, "nvrtcGetCUBINSize") && find(library, code, "nvrtcGetCUBIN") &&
               find(library, destroy, "nvrtcDestroyProgram") && find(library, device, "cuDeviceGet") &&
               find(library, attribute, "cuDeviceGetAttribute") && find(library, retain, "cuDevicePrimaryCtxRetain") &&
               find(library, push, "cuCtxPushCurrent_v2") && find(library, pop, "cuCtxPopCurrent_v2") &&
               find(library, load, "cuModuleLoadData") && find(library, function, "cuModuleGetFunction") &&
               find(library, allow, "cuFuncSetAttribute") && find(library, launch, "cuLaunchKernel") &&
               find(RTLD_DEFAULT, current, "_ZN3c104cuda20getCurrentCUDAStreamEa") &&
               find(RTLD_DEFAULT, stream, "_ZNK3c104cuda10CUDAStream6streamEv");
  }
};

const Functions& functions() {
  static const Functions found;
  return found;
}

// Of devices, and one of functions.
constexpr int kMajor = 75, kMinor = 76, kSharedOfABlock = 97;
constexpr int kMostShared = 8;

void need(int result, const char* what) {
  if (result != 0) throw std::runtime_error(std::string(what) + " failed with CUDA error " + std::to_string(result));
}

int attribute(int ordinal, int which) {
  const Functions& f = functions();
  int device = 0, value = 0;
  need(f.device(&device, ordinal), "cuDeviceGet");
  need(f.attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

// The context that libtorch works in, current as long as this lives.
class Current {
 public:
  explicit Current(int ordinal) {
    static thread_local std::vector<void*> known;
    const Functions& f = functions();
    known.resize(std::max(known.size(), static_cast<std::size_t>(ordinal) + 1));
    void*& context = known[static_cast<std::size_t>(ordinal)];
    if (context == nullptr) {
      int device = 0;
      need(f.device(&device, ordinal), "cuDeviceGet");
      need(f.retain(&context, device), "cuDevicePrimaryCtxRetain");
    }
    need(f.push(context), "cuCtxPushCurrent");
  }
  ~Current() {
    void* context = nullptr;
    functions().pop(&context);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
};

// What NVRTC makes of a source; it is destroyed with this.
class Program {
 public:
  Program(const char* source, const char* const* options, int count) {
    const Functions& f = functions();
    need(f.create(&program_, source, "kernels.cu", 0, nullptr, nullptr), "nvrtcCreateProgram");
    if (f.compile(program_, count, options) == 0) return;
    std::size_t size = 0;
    f.log_size(program_, &size);
    std::string log(size, ' ');
    f.log(program_, log.data());
    f.destroy(&program_);
    throw std::runtime_error("a kernel does not compile: " + log);
  }
  ~Program() { functions().destroy(&program_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::size_t size() const {
    std::size_t size = 0;
    need(functions().size(program_, &size), "nvrtcGetCUBINSize");
    return size;
  }
  void copy_to(char* code) const { need(functions().code(program_, code), "nvrtcGetCUBIN"); }

 private:
  void* program_ = nullptr;
};

template <class Work>
bool attempt(char* why, std::size_t room, Work work) {
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    std::strncpy(why, error.what(), room - 1);
    why[room - 1] = '\0';
    return false;
  }
}

}  // namespace

extern "C" {

// The GPU's compute capability, 90 for 9.0; 0 where kernels cannot be compiled.
int flow_cuda_kernels_capability(int ordinal) {
  if (!functions().complete) return 0;
  int capability = 0;
  char why[64];
  attempt(why, sizeof why, [&] { capability = 10 * attribute(ordinal, kMajor) + attribute(ordinal, kMinor); });
  return capability;
}

// Bytes of shared memory that a block can have.
int flow_cuda_kernels_shared(int ordinal) {
  int bytes = 0;
  char why[64];
  attempt(why, sizeof why, [&] { bytes = attribute(ordinal, kSharedOfABlock); });
  return bytes;
}

// NVRTC's version, 13000 for 13.0; 0 where there is none.
int flow_cuda_kernels_version() {
  int major = 0, minor = 0;
  if (!functions().complete || functions().version(&major, &minor) != 0) return 0;
  return 1000 * major + 10 * minor;
}

// A source compiled, to be asked for its size and its code, and to be freed. Null on failure.
Program* flow_cuda_kernels_compile(const char* source, const char* const* options, int count, std::size_t* size, char* why,
                                   std::size_t room) {
  Program* program = nullptr;
  const bool done = attempt(why, room, [&] {
    program = new Program(source, options, count);
    *size = program->size();
  });
  if (done) return program;
  delete program;
  return nullptr;
}

bool flow_cuda_kernels_code(Program* program, char* code, char* why, std::size_t room) {
  const bool done = attempt(why, room, [&] { program->copy_to(code); });
  delete program;
  return done;
}

// The kernel called `kernel` of compiled code, with so many bytes of shared memory; it lives as long as the process.
void* flow_cuda_kernels_load(int ordinal, const char* code, int shared, char* why, std::size_t room) {
  void* function = nullptr;
  const bool done = attempt(why, room, [&] {
    const Functions& f = functions();
    const Current current(ordinal);
    void* module = nullptr;
    need(f.load(&module, code), "cuModuleLoadData");
    need(f.function(&function, module, "kernel"), "cuModuleGetFunction");
    need(f.allow(function, kMostShared, shared), "cuFuncSetAttribute");
  });
  return done ? function : nullptr;
}

// Starts it on libtorch's current stream, with one argument, in blocks of 256 threads.
bool flow_cuda_kernels_launch(int ordinal, void* function, unsigned blocks, int shared, void* argument,
                              char* why, std::size_t room) {
  return attempt(why, room, [&] {
    const Functions& f = functions();
    // Asked for first: libtorch changes the current context for it, and back.
    const Stream current_stream = f.current(static_cast<std::int8_t>(ordinal));
    void* stream = f.stream(&current_stream);
    const Current current(ordinal);
    void* arguments[] = {argument};
    need(f.launch(function, blocks, 1, 1, 256, 1, 1, static_cast<unsigned>(shared), stream, arguments, nullptr),
         "cuLaunchKernel");
  });
}

}  // extern "C"
