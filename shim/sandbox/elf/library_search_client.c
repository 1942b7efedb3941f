/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/library_search_client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/retry.h"
#include "sandbox/elf/elf_reply.h"
#include "sandbox/elf/library_search.h"

#define READER "hugexec-elf-reader"

int library_search_start(struct reader *reader, int exe_fd, struct error *err)
{
	const char *const words[] = {SEARCH_MODE, NULL};
	return reader_start_with_socket(reader, READER, words, exe_fd, REASON_ELF_READER, err);
}

static int send_all(int socket_fd, const void *bytes, size_t count)
{
	return retry(send(socket_fd, bytes, count, MSG_NOSIGNAL)) == (ssize_t)count ? 0 : -1;
}

/* Hand FD (-1: none) over with what became of its opening. */
static int answer(int socket_fd, const struct search_opened *opened, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = ""};
	struct iovec part = {(void *)(uintptr_t)opened, sizeof *opened};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof fd);
	}
	return retry(sendmsg(socket_fd, &message, MSG_NOSIGNAL)) == sizeof *opened ? 0 : -1;
}

static int serve_open(int socket_fd, struct search_message *asked, const struct search_files *files, int *fd)
{
	struct search_opened opened = {0};
	struct stat st;
	bool is_folder = asked->kind == SEARCH_OPEN_FOLDER;
	asked->path[SEARCH_PATH_MAX - 1] = '\0';
	cleanup_close_p(fd);
	*fd = -1;
	int result = asked->path[0] == '/' ? files->open(files->open_context, asked->path, is_folder) : -1;
	if (result < 0)
		opened.errnum = asked->path[0] == '/' && errno ? errno : ENOENT;
	if (result >= 0 && !is_folder) {
		*fd = result;
		if (fstat(result, &st) < 0)
			return -1;
		opened.device = st.st_dev;
		opened.inode = st.st_ino;
	}
	return answer(socket_fd, &opened, *fd);
}

/* The reader's word about the file that it got last is checked as if the file had said it. */
static int hand_on(const struct search_message *told, const char *path, const struct search_files *files, int *fd)
{
	struct elf_info info;
	const struct elf_answer said = {ELF_ANSWER_MAGIC, ELF_ANSWER_OK, told->found.info};
	if (*fd < 0 || elf_answer_check(&said, &info, NULL) < 0)
		return -1;
	const struct found_library library = {path, told->found.is_later, told->found.has_text_relocations, &info};
	files->found(files->found_context, &library, steal_fd(fd));
	return 0;
}

static int conclude(struct search_message *end, struct error *err)
{
	const struct search_result *result = &end->end.result;
	if (end->end.status != ELF_ANSWER_OK)
		return error_set(err, REASON_ELF_INVALID, "what the program tells ld.so makes no sense");
	if (result->unknown == 0)
		return 0;
	return error_set(err, REASON_LIBRARY_UNKNOWN, "%u of its libraries cannot be found or not be read, %.*s first",
	                 result->unknown, (int)sizeof result->first_unknown - 1, result->first_unknown);
}

int library_search_run(struct reader *reader, const struct search_request *request, char *const *later,
                       const struct search_files *files, struct error *err)
{
	struct search_message message;
	char path[SEARCH_PATH_MAX] = "";
	cleanup_close int fd = -1;
	int result = send_all(reader->answer_fd, request, sizeof *request);
	for (uint32_t i = 0; i < request->later_count && result == 0; i++)
		result = send_all(reader->answer_fd, later[i], strlen(later[i]));
	while (result == 0 && retry(read(reader->answer_fd, &message, sizeof message)) == sizeof message &&
	       message.magic == SEARCH_MAGIC) {
		switch (message.kind) {
		case SEARCH_OPEN:
		case SEARCH_OPEN_FOLDER:
			result = serve_open(reader->answer_fd, &message, files, &fd);
			memcpy(path, message.path, sizeof path);
			break;
		case SEARCH_FOUND: result = hand_on(&message, path, files, &fd); break;
		case SEARCH_END: return conclude(&message, err);
		default: result = -1;
		}
	}
	return error_set(err, REASON_ELF_READER, "the search for its libraries has ended early");
}
