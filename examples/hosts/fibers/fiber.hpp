// fiber.hpp: fibers on Boost.Context, run by whoever has them.
#ifndef FIBER_HPP
#define FIBER_HPP

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <memory>
#include <utility>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace fibers {

// AddressSanitizer knows the stack of a thread, and must be told of each change to another one. Of these there is one for each
// side of a change.
class announced {
public:
	// Before a change to the stack of `size` bytes from `bottom` on. `last`: nobody comes back to the present one.
	void leaves_for(const void *bottom, std::size_t size, bool last = false)
	{
#ifdef __SANITIZE_ADDRESS__
		__sanitizer_start_switch_fiber(last ? nullptr : &kept, bottom, size);
#else
		(void)bottom, (void)size, (void)last;
#endif
	}
	// After a change. Puts in the bounds of the stack that was left.
	void arrives(const void **bottom = nullptr, std::size_t *size = nullptr)
	{
#ifdef __SANITIZE_ADDRESS__
		__sanitizer_finish_switch_fiber(kept, bottom, size);
		kept = nullptr;
#else
		(void)bottom, (void)size;
#endif
	}

private:
#ifdef __SANITIZE_ADDRESS__
	void *kept = nullptr;
#endif
};

// Runs body(fiber &) on a stack of its own, in pieces: run() until the body calls leave(), and on from there.
class fiber {
public:
	static constexpr std::size_t STACK = 256 << 10;

	template <class F> explicit fiber(F body) : fiber(std::move(body), allocator(STACK)) {}
	fiber(const fiber &) = delete;

	// By anybody but the fiber. False: the body has returned, and run() is not to be called again.
	bool run()
	{
		runner.leaves_for(stack.bottom, stack.size);
		inside = std::move(inside).resume();
		runner.arrives();
		return static_cast<bool>(inside);
	}

	// By the fiber: goes back to whoever runs it.
	void leave()
	{
		self.leaves_for(back.bottom, back.size);
		outside = std::move(outside).resume();
		self.arrives(&back.bottom, &back.size);
	}

private:
	using allocator = boost::context::fixedsize_stack;
	struct bounds {
		const void *bottom = nullptr;
		std::size_t size = 0;
	};

	template <class F> fiber(F body, allocator memory)
	{
		const auto context = memory.allocate();
		stack = { static_cast<char *>(context.sp) - context.size, context.size };
		inside = boost::context::fiber(
			std::allocator_arg, boost::context::preallocated(context.sp, context.size, context), memory,
			[this, body = std::move(body)](boost::context::fiber &&caller) mutable {
				self.arrives(&back.bottom, &back.size);
				outside = std::move(caller);
				body(*this);
				self.leaves_for(back.bottom, back.size, true);
				return std::move(outside);
			});
	}

	boost::context::fiber inside, outside; // where it goes on; where its runner does
	bounds stack, back;                    // its own stack; its runner's
	announced self, runner;
};

} // namespace fibers

#endif
