/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ext4.h - why an ext4 has no large folios: features of the filesystem that exclude them, used or not.
 */
#pragma once

/*
 * The feature of the ext4 that the file open at FD is on: "encrypt" (no large folios as far as Linux 7.2), "verity"
 * (none up to 7.1); NULL if it is another filesystem or has neither. Asks the file by ioctl(2), whoever may read it.
 */
const char *ext4_feature_against_large_folios(int fd);
