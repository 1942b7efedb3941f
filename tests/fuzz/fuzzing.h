/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzzing.h - what the fuzzers share: input read piece by piece, and a check that no build leaves out.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                         \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

/* The input that is left. What is read beyond its end is zero. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_bytes(struct input *input, void *out, size_t bytes)
{
	size_t have = bytes < input->left ? bytes : input->left;
	memset(out, 0, bytes);
	if (have > 0)
		memcpy(out, input->at, have);
	input->at += have;
	input->left -= have;
}

static inline uint8_t input_byte(struct input *input)
{
	uint8_t byte;
	input_bytes(input, &byte, 1);
	return byte;
}

static inline uint32_t input_word(struct input *input)
{
	uint32_t word;
	input_bytes(input, &word, sizeof word);
	return word;
}

/* The input up to the next newline (which is taken too), or all of it, in a fresh string without NUL inside. */
static inline char *input_line(struct input *input)
{
	size_t bytes = 0;
	while (bytes < input->left && input->at[bytes] != '\n' && input->at[bytes] != '\0')
		bytes++;
	char *line = malloc(bytes + 1);
	MUST(line);
	input_bytes(input, line, bytes);
	line[bytes] = '\0';
	if (input->left > 0)
		input_byte(input);
	return line;
}
