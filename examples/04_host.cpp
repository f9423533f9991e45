// SPDX-License-Identifier: MIT
// 04_host.cpp - a C++ host: handles that clean up after themselves, statuses as exceptions.
//
// Simple GLA with fp32-accumulated bf16 arrays on the CPU device, four tokens, as in 00_shortest.c:
// 8 12 14 15. With a GPU: device "cuda:0", arrays and stream of the device.
#include <maskc.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class error : public std::runtime_error {
public:
  explicit error(mkc_status status)
      : std::runtime_error(std::string(mkc_status_string(status)) + ": " + mkc_last_error()),
        category(mkc_status_category(status)) {}
  const mkc_category category;
};

void check(mkc_status status) {
  if (status != MKC_OK) throw error(status);
}

struct destroy {
  void operator()(mkc_context *context) const { mkc_context_destroy(context); }
  void operator()(mkc_op *op) const { mkc_op_destroy(op); }
};
using context_handle = std::unique_ptr<mkc_context, destroy>;
using op_handle = std::unique_ptr<mkc_op, destroy>;

context_handle make_context() {
  mkc_context *context;
  check(mkc_context_create(nullptr, &context));
  return context_handle(context);
}

op_handle make_op(mkc_context *context, const char *spec, int channels) {
  mkc_op_options options = MKC_OP_OPTIONS_INIT;
  options.spec_path = spec;
  options.device = "cpu";
  options.dk = options.dv = channels;
  mkc_op *op;
  check(mkc_op_create(context, &options, &op));
  op_handle handle(op);
  check(mkc_op_prepare(op));
  return handle;
}

// The arrays of one launch, by name. What is not set stays out.
class arguments {
public:
  explicit arguments(const mkc_op *op) : op_(op), tensors_(mkc_op_arg_count(op)) {}

  // Contiguous, in C order.
  void set(const char *name, void *data, mkc_dtype dtype, const std::vector<int64_t> &shape) {
    const int index = mkc_op_arg_index(op_, name);
    if (index < 0) throw std::invalid_argument(std::string("the op has no array ") + name);
    mkc_tensor &tensor = tensors_[index];
    tensor.data = data;
    tensor.dtype = dtype;
    tensor.ndim = static_cast<int>(shape.size());
    int64_t stride = 1;
    for (int i = tensor.ndim - 1; i >= 0; i--) {
      tensor.shape[i] = shape[i];
      tensor.stride[i] = stride;
      stride *= shape[i];
    }
  }

  void launch(void *stream = nullptr) const {
    check(
        mkc_op_launch(op_, tensors_.data(), static_cast<int>(tensors_.size()), nullptr, 0, stream));
  }

private:
  const mkc_op *op_;
  std::vector<mkc_tensor> tensors_;
};

float value(uint16_t bf16) {
  const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

constexpr int64_t T = 4, D = 64;

// An array over channels begins at a multiple of 16 bytes, as memory from new does.
bool run() {
  const context_handle context = make_context();
  const op_handle op = make_op(context.get(), "simple_gla", D);
  std::vector<uint16_t> ones(T * D, 0x3f80), o(T * D);
  std::vector<float> g(T, -0.6931471806f);
  arguments args(op.get());
  for (const char *name : {"q", "k", "v"}) args.set(name, ones.data(), MKC_BF16, {1, T, 1, D});
  args.set("g", g.data(), MKC_F32, {1, T, 1});
  args.set("o", o.data(), MKC_BF16, {1, T, 1, D});
  args.launch();
  const float expected[T] = {8, 12, 14, 15};
  bool right = true;
  for (int64_t t = 0; t < T; t++) {
    std::printf("%g%c", value(o[t * D]), t < T - 1 ? ' ' : '\n');
    right = right && value(o[t * D]) == expected[t];
  }
  return right;
}

// What goes wrong has a category to act on and a message to show.
bool refuses_an_unknown_spec() {
  try {
    make_op(make_context().get(), "no_such_spec", D); // the op would hold its context
  } catch (const error &e) {
    std::printf("%s\n", e.what());
    return e.category == MKC_CATEGORY_INPUT;
  }
  return false;
}

} // namespace

int main() {
  try {
    return run() && refuses_an_unknown_spec() ? 0 : 1;
  } catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
