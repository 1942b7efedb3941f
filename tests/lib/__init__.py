# SPDX-License-Identifier: Apache-2.0
"""What tests share: processes, reports, policies, programs, and what they change on the machine."""
