/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run a fuzzer's function on the files below the folders given: what was found once stays found, in every build.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzzing.h"

#define INPUT_BYTES_MAX (1 << 20)

static int replay(const char *path)
{
	static uint8_t data[INPUT_BYTES_MAX];
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	size_t size = fread(data, 1, sizeof data, file);
	fclose(file);
	/* Of its exact length, so that the sanitizers see a step beyond. */
	uint8_t *exact = malloc(size ? size : 1);
	MUST(exact);
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 1;
}

int main(int argc, char **argv)
{
	int count = 0;
	for (int i = 1; i < argc; i++) {
		struct dirent **names;
		int found = scandir(argv[i], &names, NULL, alphasort);
		for (int j = 0; j < found; j++) {
			char path[4096];
			struct stat st;
			snprintf(path, sizeof path, "%s/%s", argv[i], names[j]->d_name);
			if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
				count += replay(path);
			free(names[j]);
		}
		if (found >= 0)
			free(names);
	}
	printf("%d inputs\n", count);
	return count > 0 ? 0 : 1;
}
