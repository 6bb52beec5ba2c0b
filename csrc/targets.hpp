// The instruction sets that the executor was compiled for, and the best of them that this processor has.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "plan.hpp"

namespace torchtangents {

#if defined(__x86_64__)
extern const Target target_avx512, target_avx512_reciprocal, target_avx2;
#endif
extern const Target target_baseline;

inline std::vector<const Target*> targets() {
    std::vector<const Target*> out;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        out = {&target_avx512, &target_avx512_reciprocal};
        if (__builtin_cpu_is("intel")) std::swap(out[0], out[1]);  // divides 16 lanes in 10 cycles; AMD from Zen 4 on in 2.5
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) out.push_back(&target_avx2);
#endif
    out.push_back(&target_baseline);
    return out;
}

inline std::vector<std::string> names() {
    std::vector<std::string> out;
    for (const Target* target : targets()) out.push_back(target->name);
    return out;
}

// By name, or the best where the name is empty.
inline const Target& chosen(const std::string& name) {
    for (const Target* target : targets())
        if (name.empty() || name == target->name) return *target;
    throw std::invalid_argument("run: this processor has no " + name);
}

}  // namespace torchtangents
