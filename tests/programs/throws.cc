/* SPDX-License-Identifier: Apache-2.0 */
// throws - throws an exception through frames of big text and catches it: unwinding has to find its way in a copied text.
// With an argument nobody catches it, and what std::terminate() calls prints the frames that it was thrown through.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <execinfo.h>
#include <stdexcept>

#include "throws_frames.h" // generated: a chain of functions, many pages of code between them

[[noreturn]] static void print_frames()
{
	void *frames[64];
	int count = backtrace(frames, 64);
	backtrace_symbols_fd(frames, count, 2);
	std::abort();
}

int main(int argc, char **)
{
	if (argc > 1) {
		std::set_terminate(print_frames);
		frame_0(0);
	}
	int caught = 0;
	for (int i = 0; i < 100; i++) {
		try {
			frame_0(i);
		} catch (const std::runtime_error &error) {
			caught++;
			if (i == 0)
				std::printf("caught: %s\n", error.what());
		}
	}
	std::printf("%d exceptions\n", caught);
	return caught == 100 ? 0 : 1;
}
