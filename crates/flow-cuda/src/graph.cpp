// at::cuda::CUDAGraph and the streams that it needs, called without CUDA's headers, which a machine without a GPU has not:
// the functions are looked up by name in the libtorch that is loaded, and where one is missing there are no graphs.
// Exceptions end here, for Rust cannot catch them.

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>

namespace {

// What c10::MempoolId_t and c10::cuda::CUDAStream are when they are handed over: sixteen bytes of whole numbers each.
struct Pool {
  std::uint64_t of_capture, of_user;
};
struct Stream {
  std::int64_t device, id;
};

// cudaStreamCaptureModeThreadLocal: what other threads do meanwhile is their business.
constexpr int kThreadLocal = 1;

// An at::cuda::CUDAGraph takes some 200 bytes.
struct Graph {
  alignas(64) unsigned char object[4096];
  Stream before;
};

struct Functions {
  void (*construct)(void*, bool);
  void (*destruct)(void*);
  void (*begin)(void*, Pool, int);
  void (*end)(void*);
  void (*replay)(void*);
  Stream (*from_pool)(bool, std::int8_t);
  Stream (*current)(std::int8_t);
  void (*make_current)(Stream);
  bool complete;

  Functions()
      : complete(find(construct, "_ZN2at4cuda9CUDAGraphC1Eb") && find(destruct, "_ZN2at4cuda9CUDAGraphD1Ev") &&
                 find(begin, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode") &&
                 find(end, "_ZN2at4cuda9CUDAGraph11capture_endEv") &&
                 find(replay, "_ZN2at4cuda9CUDAGraph6replayEv") &&
                 find(from_pool, "_ZN3c104cuda17getStreamFromPoolEba") &&
                 find(current, "_ZN3c104cuda20getCurrentCUDAStreamEa") &&
                 find(make_current, "_ZN3c104cuda20setCurrentCUDAStreamENS0_10CUDAStreamE")) {}

  template <class Function>
  static bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
    return function != nullptr;
  }
};

const Functions& functions() {
  static const Functions found;
  return found;
}

// Whether `work` threw nothing; what it threw goes to `why`, as far as there is `room`, if there is any.
template <class Work>
bool attempt(char* why, std::size_t room, Work work) {
  const auto tell = [&](const char* text) {
    if (room > 0) {
      std::strncpy(why, text, room - 1);
      why[room - 1] = '\0';
    }
  };
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    tell(error.what());
  } catch (...) {
    tell("an exception of an unknown kind");
  }
  return false;
}

template <class Work>
void quietly(Work work) {
  attempt(nullptr, 0, work);
}

}  // namespace

extern "C" {

bool flow_cuda_graphs_available() { return functions().complete; }

// From here to flow_cuda_graph_end, what this thread starts on `device` is recorded and not run. Null on failure.
Graph* flow_cuda_graph_begin(std::int8_t device, char* why, std::size_t room) {
  const Functions& f = functions();
  Graph* graph = nullptr;
  bool constructed = false;
  bool moved = false;
  const bool begun = attempt(why, room, [&] {
    graph = new Graph;
    f.construct(graph->object, false);
    constructed = true;
    graph->before = f.current(device);
    // The default stream cannot be recorded.
    f.make_current(f.from_pool(false, device));
    moved = true;
    f.begin(graph->object, Pool{0, 0}, kThreadLocal);
  });
  if (begun) {
    return graph;
  }
  if (moved) {
    quietly([&] { f.make_current(graph->before); });
  }
  if (constructed) {
    quietly([&] { f.destruct(graph->object); });
  }
  delete graph;
  return nullptr;
}

bool flow_cuda_graph_end(Graph* graph, char* why, std::size_t room) {
  const Functions& f = functions();
  const bool ended = attempt(why, room, [&] { f.end(graph->object); });
  quietly([&] { f.make_current(graph->before); });
  return ended;
}

bool flow_cuda_graph_replay(Graph* graph, char* why, std::size_t room) {
  return attempt(why, room, [&] { functions().replay(graph->object); });
}

void flow_cuda_graph_free(Graph* graph) {
  quietly([&] { functions().destruct(graph->object); });
  delete graph;
}

}  // extern "C"
