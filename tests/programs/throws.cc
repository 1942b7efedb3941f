// throws - throws an exception through frames of big text and catches it: unwinding has to find its way in a copied text.
#include <cstdio>
#include <stdexcept>

#include "throws_frames.h" // generated: a chain of functions, many pages of code between them

int main()
{
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
