// Compiled once for each instruction set, with TARGET as its name; nothing but the table below leaves this file.
#include "angles.hpp"
#include "execute.hpp"
#include "moments.hpp"

#define NAMED(name) target_##name
#define EXPANDED(name) NAMED(name)
#define TEXT(name) #name
#define QUOTED(name) TEXT(name)

namespace torchtangents {
extern const Target EXPANDED(TARGET);
const Target EXPANDED(TARGET) = {QUOTED(TARGET),         vector_bytes,            &run_item<float>, &run_item<double>,
                                 &second_moments<float>, &second_moments<double>, &angles<float>,   &angles<double>};
}  // namespace torchtangents
