/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "hugexecctl check" as a program of its own, for test_policy_schema.py.
 */
#include "ctl/ctl.h"

int main(int argc, char **argv)
{
	return ctl_check(argc, argv);
}
