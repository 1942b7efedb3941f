/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader's side of the socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arch/elf_arch.h"
#include "base/cleanup.h"
#include "base/retry.h"
#include "sandbox/elf/library_search.h"

static int say(int socket_fd, const struct search_message *message)
{
	return retry(write(socket_fd, message, sizeof *message)) == sizeof *message ? 0 : -1;
}

/* Receive an answer and its descriptor (-1: none). */
static int receive(int socket_fd, struct search_opened *opened, int *fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {opened, sizeof *opened};
	struct msghdr message = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	*fd = -1;
	if (retry(recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC)) != sizeof *opened)
		return -1;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(header), sizeof *fd);
	return 0;
}

/* Whoever asked is gone: nobody waits for the rest. */
static int ask_to_open(void *context, const char *path, bool is_folder, struct search_file *file)
{
	struct search_message message = {SEARCH_MAGIC, is_folder ? SEARCH_OPEN_FOLDER : SEARCH_OPEN, {.path = ""}};
	struct search_opened opened;
	strncpy(message.path, path, sizeof message.path - 1);
	if (say(*(int *)context, &message) < 0 || receive(*(int *)context, &opened, &file->fd) < 0)
		_exit(1);
	file->device = opened.device;
	file->inode = opened.inode;
	if (opened.errnum == 0 && !is_folder && file->fd < 0)
		return EMFILE;
	return opened.errnum;
}

static void tell_found(void *context, const struct elf_info *info, bool is_later, bool has_text_relocations)
{
	struct search_message message = {
	    SEARCH_MAGIC, SEARCH_FOUND, {.found = {is_later, has_text_relocations, *info}}};
	if (say(*(int *)context, &message) < 0)
		_exit(1);
}

static int read_later(int socket_fd, const struct search_request *request, char **later)
{
	char path[SEARCH_PATH_MAX];
	for (uint32_t i = 0; i < request->later_count; i++) {
		ssize_t got = retry(read(socket_fd, path, sizeof path - 1));
		if (got <= 0 || !(later[i] = strndup(path, (size_t)got)))
			return -1;
	}
	return 0;
}

int search_serve(int exe_fd, int socket_fd)
{
	static struct search_request request;
	static char *later[SEARCH_LATER_MAX];
	if (retry(read(socket_fd, &request, sizeof request)) != sizeof request ||
	    request.later_count > SEARCH_LATER_MAX || read_later(socket_fd, &request, later) < 0)
		return -1;
	struct search_world world = {ask_to_open, tell_found, &socket_fd};
	struct search_message message = {SEARCH_MAGIC, SEARCH_END, {.end = {0}}};
	message.end.status = search_libraries(exe_fd, &request, later, loader_level(), &world, &message.end.result);
	return say(socket_fd, &message);
}
