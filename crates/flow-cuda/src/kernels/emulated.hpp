// What the kernels need of CUDA, on the processor, for tests on machines without a GPU: a block's threads are fibers that take
// turns at barriers. Far too slow for anything else.

#pragma once

#ifdef __APPLE__
// There contexts are to be asked for.
#define _XOPEN_SOURCE 700
#define _DARWIN_C_SOURCE
#endif

// Its check of jumps knows of one stack alone.
#undef _FORTIFY_SOURCE

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define EMULATED
#define __device__
#define __global__

struct Place3 {
  unsigned x, y, z;
};
inline Place3 threadIdx, blockIdx;

struct alignas(16) float4 {
  float x, y, z, w;
};

using std::min;
using std::max;

namespace emulated {

// A fiber begins by its context, and goes on by a jump, which asks nothing of the system.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  std::vector<char> stack;
  bool begun, done;
};

inline jmp_buf scheduler;
inline std::vector<Fiber> fibers;
inline std::size_t running;
inline bool any_left;
inline const std::function<void()>* work;

inline void begin() {
  (*work)();
  fibers[running].done = true;
  _longjmp(scheduler, 1);
}

// Lets every other thread of the block come as far.
inline void meet() {
  if (_setjmp(fibers[running].place) == 0) _longjmp(scheduler, 1);
}

// Lets one thread go on to where it meets the others, or ends.
inline void resume(Fiber& fiber) {
  if (_setjmp(scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.place, 1);
  fiber.begun = true;
  setcontext(&fiber.context);
}

// Runs `each` by so many threads of one block.
inline void run_block(std::size_t threads, const std::function<void()>& each) {
  work = &each;
  fibers.resize(threads);
  for (auto& fiber : fibers) {
    fiber.stack.resize(1 << 16);
    fiber.begun = fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, begin, 0);
  }
  for (any_left = true; any_left;) {
    any_left = false;
    for (running = 0; running < threads; ++running) {
      Fiber& fiber = fibers[running];
      if (fiber.done) continue;
      threadIdx = {static_cast<unsigned>(running), 0, 0};
      resume(fiber);
      any_left = any_left || !fibers[running].done;
    }
  }
}

// What a warp's threads hand each other.
struct Handed {
  unsigned a[4], b[2];
};

// Two places in turn, so that nobody writes to one that another still reads.
struct Hands {
  Handed of[2][256];
  unsigned turns[256] = {};
};
inline Hands hands;

// Hands over `own` and returns everybody's.
inline const Handed* hand(const Handed& own) {
  const unsigned thread = threadIdx.x;
  Handed* place = hands.of[hands.turns[thread]++ % 2];
  place[thread] = own;
  meet();
  return place;
}

}  // namespace emulated

inline void __syncthreads() { emulated::meet(); }

namespace emulated {

// A copy that has been asked for, and is carried out when it is waited for.
struct Copy {
  float* to;
  const float* from;
  int count;
};

// A thread's copies in groups: those that wait, oldest first, and the one that is open.
struct Copies {
  static constexpr std::size_t kMost = 8;
  std::vector<Copy> groups[kMost];
  std::size_t first = 0, ended = 0;

  std::vector<Copy>& open() { return groups[ended % kMost]; }

  void end() {
    ++ended;
    if (ended - first == kMost) std::abort();
    open().clear();
  }

  void wait(std::size_t left) {
    for (; ended - first > left; ++first) {
      for (const Copy& copy : groups[first % kMost]) {
        for (int i = 0; i < copy.count; ++i) copy.to[i] = copy.from ? copy.from[i] : 0.0f;
      }
    }
  }

  // Nothing may be left when a block ends.
  bool done() const {
    for (std::size_t group = first; group <= ended; ++group) {
      if (!groups[group % kMost].empty()) return false;
    }
    return true;
  }
};
inline Copies copies[256];

// Until it is waited for there is no number.
inline void ask_for(float* to, const float* from, bool there, int count) {
  for (int i = 0; i < count; ++i) to[i] = NAN;
  copies[threadIdx.x].open().push_back({to, there ? from : nullptr, count});
}

}  // namespace emulated

inline void copy_later(float* to, const float* from, bool there) { emulated::ask_for(to, from, there, 1); }
inline void copy_four_later(float* to, const float* from, bool there) {
  // A GPU copies sixteen bytes between places that are multiples of as many.
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0) std::abort();
  emulated::ask_for(to, from, there, 4);
}
inline void end_of_copies() { emulated::copies[threadIdx.x].end(); }
template <int LEFT>
inline void wait_for_copies() {
  emulated::copies[threadIdx.x].wait(LEFT);
}

template <int PRECISION>
inline unsigned rounded(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const int cut = PRECISION == 1 ? 13 : 16;
  const std::uint32_t half = 1u << (cut - 1);
  // To the nearest; of two, TF32 the farther from 0, bf16 the even.
  const std::uint32_t even = PRECISION == 1 ? 1 : bits >> cut & 1;
  return (bits + half - 1 + even) >> cut << cut;
}

inline float number_of(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline float __shfl_xor_sync(unsigned, float v, int apart) {
  const unsigned other = threadIdx.x ^ static_cast<unsigned>(apart);
  emulated::Handed own = {};
  std::memcpy(own.a, &v, 4);
  return number_of(emulated::hand(own)[other].a[0]);
}

// As PTX shares a product out among a warp (mma.m16n8k8).
inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const unsigned first = threadIdx.x / 32 * 32, lane = threadIdx.x % 32;
  emulated::Handed own;
  std::memcpy(own.a, a, sizeof a);
  std::memcpy(own.b, b, sizeof b);
  const emulated::Handed* all = emulated::hand(own);
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 8; ++k) {
      const unsigned of_a = first + row % 8 * 4 + k % 4, of_b = first + column * 4 + k % 4;
      sum[i] += number_of(all[of_a].a[row / 8 + k / 4 * 2]) * number_of(all[of_b].b[k / 4]);
    }
  }
}
