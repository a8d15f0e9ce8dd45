// A CUDA card whose memory and processor are the computer's, so that what raises on a card alone can be found without
// one: tensors and generators of two devices in one operation, waiting for the card while a graph is recorded.
// To be loaded before torch's Python module, which asks once what there is.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <utility>

namespace {

constexpr auto CUDA = c10::DeviceType::CUDA;
const c10::Device CARD{CUDA, 0};

// ---------------------------------------------------------------- memory
std::atomic<int64_t> held{0}, peak{0};
std::atomic<bool> recording{false};
thread_local bool computing = false;  // what is copied meanwhile, no real card would copy

struct Block {
  void* memory;
  int64_t bytes;
};

void give_back(void* block) {
  auto* mine = static_cast<Block*>(block);
  held -= mine->bytes;
  std::free(mine->memory);
  delete mine;
}

struct Memory : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    auto* block = new Block{std::malloc(std::max<size_t>(bytes, 1)), static_cast<int64_t>(bytes)};
    std::memset(block->memory, 0xff, bytes);  // NaN: nobody may count on zeros
    int64_t now = held += block->bytes;
    if (now > peak) peak = now;
    return {block->memory, block, &give_back, CARD};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
} memory;

// ---------------------------------------------------------------- random numbers
struct Generator : c10::GeneratorImpl {
  at::Generator inner;  // draws on the CPU, other numbers than the CPU's own generator of that seed
  explicit Generator(uint64_t seed = c10::default_rng_seed_val)
      : c10::GeneratorImpl(CARD, c10::DispatchKeySet(c10::DispatchKey::CUDA)), inner(at::detail::createCPUGenerator()) {
    set_current_seed(seed);
  }
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed ^ 0x5eed); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return inner.current_seed() ^ 0x5eed; }
  uint64_t seed() override { return inner.seed() ^ 0x5eed; }
  void set_state(const c10::TensorImpl& state) override { inner.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.unsafeGetGeneratorImpl()->get_state(); }
  Generator* clone_impl() const override {
    auto* copy = new Generator();
    copy->inner = inner.clone();
    return copy;
  }
};

const at::Generator& own_generator() {
  static at::Generator generator = at::make_generator<Generator>();
  return generator;
}

struct CUDAHooks : at::CUDAHooksInterface {  // torch finds it by this name
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex current_device() const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return own_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<Generator>(); }
};

struct Guard : c10::impl::NoOpDeviceGuardImpl<CUDA> {
  c10::Device getDevice() const override { return CARD; }
  c10::Device exchangeDevice(c10::Device) const override { return CARD; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }

 private:
  c10::Stream stream() const { return c10::Stream(c10::Stream::DEFAULT, CARD); }
};

// ---------------------------------------------------------------- operations
void refuse_while_recording(const std::string& name) {
  TORCH_CHECK(!recording, name, ": operation not permitted when stream is capturing");
}

at::Tensor on_cpu(const at::Tensor& t) {  // the same memory
  if (!t.is_cuda()) return t;
  return at::from_blob(t.data_ptr(), t.sizes(), t.strides(), t.options().device(c10::kCPU));
}

at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool) {
  if (self.device() != source.device() && !computing) refuse_while_recording("copy_");
  on_cpu(self).copy_(on_cpu(source));
  return self;
}

at::Tensor& set_to_storage(at::Tensor& self, c10::Storage source) {
  int64_t numbers = source.nbytes() / self.element_size();
  return at::native::set_storage_cpu_(self, std::move(source), 0, {numbers}, {});
}

at::Tensor copy_back(const at::Tensor& source, const at::Tensor& to) {  // what cpu_fallback writes results with
  if (to.sizes() != source.sizes()) to.resize_(source.sizes());
  on_cpu(to).copy_(source);
  return to;
}

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
                 std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                         std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                           c10::dtype_or_default(dtype));
}

// What waits for the card, or reads indices wherever they lie.
const std::set<std::string> WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal",
                                     "aten::masked_select", "aten::unique_dim", "aten::_unique2"};
const std::set<std::string> INDEXED = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"};

void check_device(const at::Tensor& t, const std::string& name) {
  TORCH_CHECK(!t.defined() || t.is_cuda() || t.dim() == 0 || INDEXED.count(name),
              "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and ",
              t.device(), "! (in ", name, ")");
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.schema().name();
  if (WAITS.count(name)) refuse_while_recording(name);
  const auto& arguments = op.schema().arguments();
  for (size_t i = 0; i < arguments.size(); i++) {
    auto& value = torch::jit::peek(*stack, i, arguments.size());
    if (value.isTensor()) {
      check_device(value.toTensor(), name);
    } else if (value.isTensorList()) {
      for (const at::Tensor& t : value.toTensorVector()) check_device(t, name);
    } else if (value.isGenerator()) {
      auto given = value.toGenerator();
      TORCH_CHECK(given.device().is_cuda(), "Expected a 'cuda' device type for generator but found 'cpu'");
      value = c10::IValue(static_cast<Generator*>(given.unsafeGetGeneratorImpl())->inner);
    } else if (value.isNone() && arguments[i].name() == "generator") {
      value = c10::IValue(static_cast<Generator*>(own_generator().unsafeGetGeneratorImpl())->inner);
    }
  }
  struct Computing {
    bool before = std::exchange(computing, true);
    ~Computing() { computing = before; }
  } here;
  at::native::cpu_fallback(op, stack);
}

const at::Tensor& resize(const at::Tensor& self, c10::IntArrayRef size, std::optional<c10::MemoryFormat> format) {
  return at::native::resize_(self, size, format);
}

}  // namespace

namespace at {
using ::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks);
}  // namespace at

namespace {
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("copy_", &copy);
  m.impl("_copy_from_and_resize", &copy_back);
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("resize_", &resize);
  m.impl("set_.source_Storage", &set_to_storage);
  m.impl("set_.source_Storage_storage_offset", &at::native::set_storage_cpu_);
  m.impl("set_.source_Tensor", &at::native::set_tensor_);
}

const bool registered = [] {
  c10::SetAllocator(CUDA, &memory);
  return true;
}();
}  // namespace

extern "C" {
int64_t card_held() { return held; }
int64_t card_peak() { return peak; }
void card_reset_peak() { peak = held.load(); }
void card_seed(uint64_t seed) {
  at::Generator generator = own_generator();
  generator.set_current_seed(seed);
}
void card_record(bool on) { recording = on; }
}
