"""Each promise of docs/reliability.md, word by word; how its code is broken on purpose; and the test that must then fail.

run.py carries them out. A mutation replaces OLD, which stands once in FILE, by NEW. Tests are "TOPIC[::NAME]" for pytest
("probe::test_kinds[file-pie]" is in integration/test_probe.py; "oci/hook::..." in oci/test_hook.py), "unit NAME" for
cmocka, "faults WAY: ROLE CALL FAULT" for the fault run of one call.
"""
import collections

Mutation = collections.namedtuple("Mutation", "promise words file old new tests")

LIST = []


def broken(promise, words, file, old, new, *tests):
    LIST.append(Mutation(promise, words, file, old, new, tests))


def in_workload(words, statement, test):
    """The process that becomes the workload does something that shows."""
    broken(1, words, "shim/hugexec.c", "\texecve(program->found, words + 1, environ);", f"\t{statement}\n\texecve(program->found, words + 1, environ);", test)


PROBE = "probe::test_surroundings"

# 1. The same process.
in_workload("PID, parent", "if (fork() > 0) for (;;) pause();", f"{PROBE}[thp-plain]")
in_workload("session", "setsid();", f"{PROBE}[thp-plain]")
in_workload("process group", "setpgid(0, 0);", f"{PROBE}[thp-plain]")
in_workload("controlling terminal", "{ extern int ioctl(int, unsigned long, ...); ioctl(0, 0x5422); }", "probe::test_terminal")
in_workload("open files: one more", "{ extern int open(const char *, int, ...); (void)!open(\"/dev/null\", 0); }", f"{PROBE}[thp-plain]")
in_workload("open files: one less", "close(17);", f"{PROBE}[thp-extra files]")
in_workload("working directory", "(void)!chdir(\"/\");", f"{PROBE}[thp-directory]")
in_workload("umask", "{ extern unsigned umask(unsigned); umask(022); }", f"{PROBE}[thp-umask]")
in_workload("limits", "{ extern int prlimit64(int, int, void *, void *); unsigned long none[2] = {0, 0}; prlimit64(0, 4, none, 0); }", f"{PROBE}[thp-plain]")
in_workload("ignored signals", "{ extern int sigaction(int, const void *, void *); char fresh[256] = {0}; sigaction(10, fresh, 0); }",
            f"{PROBE}[thp-ignored signals]")
in_workload("capabilities", "{ extern int prctl(int, ...); prctl(24, 19UL, 0UL, 0UL, 0UL); }", f"{PROBE}[thp-plain]")
in_workload("no new privileges", "{ extern int prctl(int, ...); prctl(38, 1UL, 0UL, 0UL, 0UL); }", f"{PROBE}[thp-plain]")
in_workload("personality", "{ extern int personality(unsigned long); personality(0x40000); }", f"{PROBE}[thp-plain]")
in_workload("environment", "setenv(\"HUGEXEC_WAS_HERE\", \"1\", 1);", f"{PROBE}[thp-plain]")
in_workload("environment: nothing is taken away", "unsetenv(\"LISTEN_PID\");", f"{PROBE}[thp-environment]")
in_workload("arguments", "if (words[2]) words[2] = \"x\";", f"{PROBE}[thp-plain]")
in_workload("nice value", "{ extern int nice(int); (void)!nice(1); }", f"{PROBE}[thp-plain]")
in_workload("timers", "alarm(0);", "probe::test_attributes[thp-with_interval_timer]")
in_workload("attributes set by prctl", "{ extern int prctl(int, ...); prctl(36, 0UL, 0UL, 0UL, 0UL); }", "probe::test_attributes[thp-with_kernel_attributes]")
broken(1, "seccomp filters", "shim/ptrace/tracee.c", "\tlong suspend = tracee->suspends_seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0;",
       "\tlong suspend = 0;", "oci/hook::test_seccomp_profile_of_its_own")
broken(1, "signal mask, given back before exec", "shim/launch/spawn_tracer.c", "\tsigprocmask(SIG_SETMASK, &before, NULL);\n\tint result = -1;",
       "\tint result = -1;", f"{PROBE}[thp-plain]")
broken(1, "signal mask, given back with the registers", "shim/ptrace/tracee.c", "set_mask(tracee, tracee->saved_mask, err) < 0 ||\n\t    set_options",
       "set_options", "faults thp: injected mremap EFAULT", "attach::test_no_signal_is_lost", "borrowed::test_masked_whenever_borrowed[thp]")
broken(1, "signal mask, given back at the hand-off", "shim/ptrace/tracee.c",
       "if (tracee_set_regs(tracee, &regs, err) < 0 || set_mask(tracee, tracee->saved_mask, err) < 0)", "if (tracee_set_regs(tracee, &regs, err) < 0)",
       f"{PROBE}[thp-plain]")
broken(1, "pending signals", "shim/ptrace/tracee.c", "signal_to_deliver = signal_stop ? WSTOPSIG(status) : 0;", "signal_to_deliver = 0;",
       "borrowed::test_stopped_while_borrowed")
broken(1, "signals reach who is followed", "shim/tracer/trace_loop.c", "\t\tsignal_to_deliver = WSTOPSIG(status);\n", "", "follow::test_signals_while_it_is_followed")
broken(1, "registers at the entry point", "shim/arch/x86_64.h", "\t*regs = *final;\n", "\t*regs = *final;\n\tregs->gpr.rbx = 1;\n",
       "launch::test_registers_at_entry")
broken(1, "the function to be called at exit (rdx)", "shim/ptrace/tracee.c", "\tif (info_addr && is_writable(tracee, info_addr))\n\t\tinfo_addr = 0;\n",
       "\tinfo_addr = 0;\n", "launch::test_registers_at_entry")
broken(1, "stays stopped when it is stopped", "shim/tracer/trace_loop.c", "? NEXT_NOTHING : NEXT_STAY;", "? NEXT_NOTHING : NEXT_RUN_ON;", "library_wait::test_stopped_meanwhile")
broken(1, "the auxiliary vector", "shim/ptrace/auxv.c", "if (auxv->words[i] == AT_PHDR || auxv->words[i] == AT_ENTRY)", "if (auxv->words[i] == AT_ENTRY)",
       "probe::test_kinds[file-pie]", "rebase::test_program_headers_and_mappings_agree")
broken(1, "the kernel's copy of the auxiliary vector", "shim/ptrace/auxv.c", "\tif (write_vector(tracee, auxv) == 0)\n\t\tresult =\n\t\t    remote_syscall(tracee, err, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, scratch_addr, sizeof map, 0, 0);\n",
       "\tresult = write_vector(tracee, auxv);\n", "tools::test_auxv_and_stat_agree")

# 2. Nothing stays behind.
broken(2, "no tracer", "shim/tracer/trace_loop.c", "\t\tif (followed->is_root)\n\t\t\t_exit(0);\n", "\t\tif (followed->is_root)\n\t\t\tfor (;;)\n\t\t\t\tpause();\n",
       "launch::test_nothing_stays_behind")
broken(2, "no process", "shim/tracer/trace_loop.c", "\t\tif (followed->is_root)\n\t\t\t_exit(0);\n", "\t\tif (followed->is_root) {\n\t\t\tif (fork() == 0)\n\t\t\t\tfor (;;)\n\t\t\t\t\tpause();\n\t\t\t_exit(0);\n\t\t}\n",
       "launch::test_nothing_stays_behind")
broken(2, "no zombie", "shim/tracer/exec_event.c", "\ttracee_hand_off(tracee, following->launch->tracer_pid, NULL);", "\ttracee_detach(tracee);", f"{PROBE}[thp-plain]")
broken(2, "no descriptor: the memfd", "shim/remap/private_copy.c", "int64_t closed = remote_syscall(copy->tracee, err, SYS_close, (uint64_t)copy->tracee_fd, 0, 0, 0, 0, 0);",
       "int64_t closed = 0;", f"{PROBE}[thp-plain]")
broken(2, "no descriptor: the memfd that is mapped over the text", "shim/remap/private_copy.c", "\tint failed = copy->tracee_fd >= 0 ? close_in_tracee(copy, err) : 0;\n", "\tint failed = 0;\n",
       "fail_open::test_a_kernel_that_cannot_move_hugetlb_pages")
broken(2, "no descriptor: the program's file", "shim/remap/relocate.c", "\tif (move->exe_fd >= 0)\n\t\ttracee_syscall(move->tracee, NULL, SYS_close, (uint64_t)move->exe_fd, 0, 0, 0, 0, 0);\n",
       "", f"{PROBE}[file-plain]")
broken(2, "no memory: a copy that was refused", "shim/remap/private_copy.c", "\t\twhile_borrowed(&copy, clean_up, NULL);\n",
       "\t\t(void)0;\n", "faults thp: injected madvise ENOMEM")
broken(2, "no memory: the old place", "shim/remap/relocate.c", "\t\tmove_pc(move);\n\t\tdrop_old(move);", "\t\tmove_pc(move);", f"{PROBE}[file-plain]")
broken(2, "no byte below the stack", "shim/remap/relocate.c", "\ttracee_write(tracee, move.scratch_addr, zero, sizeof zero);\n", "", "borrowed::test_nothing_is_left_below_the_stack")
broken(2, "no page of the stop at the entry point", "shim/ptrace/entry_stop.c", "\t\tunmap_page(tracee, stop);\n\t\ttracee_return(tracee, NULL);\n", "\t\ttracee_return(tracee, NULL);\n",
       "library_wait::test_the_entry_point_is_put_right")
broken(2, "nor what ld.so keeps of it", "shim/ptrace/entry_stop.c", "\t\t\tif (words[i] == stop->stub_addr)\n", "\t\t\tif (0 && words[i] == stop->stub_addr)\n", "library_wait::test_the_entry_point_is_put_right")
broken(2, "AT_ENTRY is put right where nobody comes to it", "shim/ptrace/entry_stop.c", "\tif (entry_stop_is_ahead(tracee))\n\t\ttracee_write", "\tif (0)\n\t\ttracee_write",
       "library_wait::test_a_loader_that_passes_us_by")
broken(2, "not traced while its libraries take long to load", "shim/tracer/entry_wait.c", "\ttracee_detach(&followed->tracee);\n", "\treturn false;\n", "library_wait::test_not_traced_for_long")
broken(2, "pipes and files are the workload's alone", "shim/launch/tracer_main.c", "\tclose_all_but(kept);\n", "", "launch::test_pipes_are_the_workloads_alone")
broken(10, "a program that is no wrapper is let go", "shim/policy/wrappers.c", "\tif (!names->is_script && !settings_names_wrapper(settings, names))\n\t\treturn FOLLOW_NONE;\n", "",
       "follow::test_a_program_that_is_no_wrapper_is_not_followed")
broken(2, "no zombie of PID 1", "shim/launch/spawn_tracer.c", "\t    !reaper_is_self() && (launch->follows ||", "\t    (launch->follows ||", "launch::test_pid_1_of_a_pid_namespace[remapped]")
broken(2, "no zombie of who reaps nobody", "shim/helper/get_tracer.c", "\treturn reaper_check(err);", "\treturn 0;", "reaper::test_nobody_reaps")
broken(2, "no zombie of an init process, which cannot reap us", "shim/tracer/trace_loop.c", "\tif (!following->deadline_us && may_leave)", "\tif (!following->deadline_us)", "entry_points::test_an_init_gets_no_zombie")
broken(2, "no signal of the tracer's end", "shim/launch/spawn_tracer.c", "\tbool shows = !launch->tracer_is_orphan && sigismember(&before, SIGCHLD);", "\tbool shows = false;", "reaper::test_sigchld[blocked]")
broken(10, "a service manager sees no process of ours when a wrapper has ended", "shim/tracer/trace_loop.c", "\tif (root_ends(following, tid))\n", "\tif (0 && root_ends(following, tid))\n",
       "systemd/following::test_main_processes[forking-by a script that starts it and ends-small]")
broken(10, "a wrapper is followed, and not remapped", "shim/tracer/exec_event.c", "decision.action == ACTION_REMAP && is_wrapper)", "decision.action == ACTION_REMAP && 0)", "explain::test_children_of_a_large_supervisor")

# 3. Text is never wrong.
broken(3, "filled from the right place", "shim/remap/copy_fill.c", "piece->file_off + (start - piece->start), err)", "piece->file_off + (start - piece->start) + 4096, err)", "programs::test_variant")
broken(3, "filled whole", "shim/remap/copy_fill.c", "\tif (progress->complete != parts)\n", "\tif (0)\n", "killed_tracer::test_helper_killed")
broken(3, "what was begun and not finished is not used", "shim/remap/copy_fill.c", "\t\tif (got == 0)\n\t\t\treturn error_set(err, \"text-unreadable\", \"the program's file ends inside its text\");\n", "\t\tif (got == 0)\n\t\t\treturn 0;\n",
       "faults thp, much text: tracer pread64 end")
broken(3, "put in place whole", "shim/remap/private_copy.c", "SYS_mremap, copy->aside_addr, bytes, bytes,\n", "SYS_mremap, copy->aside_addr, 4096, bytes,\n", "programs::test_variant")
broken(3, "no page fault on it can fail: populated before", "shim/remap/populate.c", "bytes, MADV_POPULATE_READ, 0", "bytes, MADV_NORMAL, 0",
       f"{PROBE}[thp-plain]")
broken(3, "memory is asked for before: hugetlb pool", "shim/remap/backing_hugetlb.c", "\tif (unreserved + pool.overcommit_left < pages)\n",
       "\tif (0)\n", "fail_open::test_pool_too_small")
broken(3, "memory is asked for before: cgroup limit of hugetlb", "shim/remap/backing_hugetlb.c", "\tif (headroom_bytes >= bytes)\n\t\treturn 0;", "\tif (headroom_bytes >= bytes || headroom_bytes < bytes)\n\t\treturn 0;",
       "fail_open::test_hugetlb_cgroup_limit")
broken(3, "memory is asked for before: memory limit", "shim/remap/backing_thp.c", "\tif (left_bytes >= bytes + MEMORY_SLACK_BYTES)\n", "\tif (left_bytes + bytes >= bytes)\n", "fail_open::test_memory_cgroup_limit")
broken(3, "sealed", "shim/remap/private_copy.c", "F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL", "F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL", "launch::test_copy_is_sealed")
broken(3, "not over writable memory", "shim/remap/plan.c", "(mapping->prot & PROT_READ) && !(mapping->prot & PROT_WRITE)", "(mapping->prot & PROT_READ)", "unit plan")
broken(3, "not over memory that ld.so has changed", "shim/remap/plan.c", "!mapping->shared && !mapping->changed &&", "!mapping->shared &&", "programs::test_rounding_out_stops_at_relro", "unit plan")
broken(3, "not over another object's memory", "shim/remap/plan.c", "\treturn mapping_same_file(mapping, text) && !mapping->shared", "\treturn !mapping->shared", "unit plan")
broken(3, "no address is covered twice", "shim/remap/plan.c", "\tif (plan->range_count > 0 && start < plan->ranges[plan->range_count - 1].end)\n\t\tstart = plan->ranges[plan->range_count - 1].end;\n", "", "unit plan")
broken(3, "text that was changed is left alone: a library's", "shim/remap/elf_object.c", "\tif (is_changed(object))\n", "\tif (0)\n", "libraries::test_text_relocations_are_left_alone", "attach::test_text_that_was_changed_is_left_alone")
broken(3, "text that is changed while it is copied is left alone", "shim/remap/private_copy.c", "return check_ranges(copy, err) < 0 ? -1 :", "return", "attach::test_text_changed_while_it_is_copied")
broken(3, "no old text is taken away for a copy that cannot be moved", "shim/remap/backing_hugetlb.c", "    .can_move = hugetlb_can_move,\n", "", "fail_open::test_a_kernel_that_cannot_move_hugetlb_pages")
broken(3, "text is moved to where offset and address agree", "shim/remap/relocate.c", "random % BASE_STEPS * SLOT + (start + phase) % SLOT", "random % BASE_STEPS * SLOT + start % SLOT", "probe::test_kinds[file-pie]")
broken(3, "a moved program keeps its alignment", "shim/remap/relocate.c", "\tif (phase % segments.align) {", "\tif (0) {", "rebase::test_no_alignment_is_lost")
broken(3, "a moved program keeps its zeros", "shim/remap/relocate.c", "bool bss = mapping->inode == 0 &&", "bool bss = i > 0 && mapping[-1].end == mapping->start && mapping->inode == 0 &&", "rebase::test_zeros_far_away_move_too")
broken(3, "after a move plans are made with the new addresses", "shim/remap/backing_file.c", "\t*image = moved;\n\t*map_index = image->exe_index;\n", "\timage_free(&moved);\n", "probe::test_kinds[file-pie]")
broken(3, "mappings are the workload's, not those of another process", "shim/ptrace/tracee.c", "\tif (tracee_check_proc(err) < 0) {", "\tif (0) {", "fail_open::test_proc_of_another_pid_namespace", "attach::test_proc_of_another_pid_namespace")
broken(3, "a switch that cannot be finished ends the workload", "shim/remap/private_copy.c", "if (copy->tracee->state != TRACEE_GONE && !range_is_untouched(copy, range))\n", "if (0)\n", "unit remap")
broken(3, "a move that cannot be undone ends the workload", "shim/remap/relocate.c", "\tif (result < 0 && take_back(move) < 0) {", "\tif (result < 0 && take_back(move) < -1) {", "faults file: injected prctl EINVAL*")

# 4. Never writable and executable.
broken(4, "at once: the copy", "shim/remap/private_copy.c", "PROT_READ | PROT_EXEC,\n\t                   MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE", "PROT_READ | PROT_WRITE | PROT_EXEC,\n\t                   MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED_NOREPLACE", "launch::test_memory_deny_write_execute", "launch::test_memory_protection")
broken(4, "one after the other: the copy", "shim/remap/private_copy.c", "\tcopy->aside_addr = (uint64_t)mapped;\n", "\tcopy->aside_addr = (uint64_t)mapped;\n\ttracee_syscall(copy->tracee, NULL, SYS_mprotect, (uint64_t)mapped, copy->plan->range_bytes, PROT_READ | PROT_WRITE, 0, 0, 0);\n"
       "\tif (remote_syscall(copy->tracee, err, SYS_mprotect, (uint64_t)mapped, copy->plan->range_bytes, PROT_READ | PROT_EXEC, 0, 0, 0) < 0)\n\t\treturn error_set(err, \"remap\", \"mprotect\");\n",
       "launch::test_memory_deny_write_execute")
broken(4, "at once: a moved program", "shim/remap/relocate.c", "bytes, (uint64_t)mapping->prot,\n", "bytes, (uint64_t)mapping->prot | PROT_WRITE,\n", "launch::test_memory_deny_write_execute", "probe::test_kinds[file-pie]")

# 5. Whatever fails, the program runs.
broken(5, "a tracer that cannot start", "shim/hugexec.c", "return fails ? EXIT_FAILED : execute(options);\n\t}\n\treturn execute_traced(options, &launch, &program);", "return EXIT_FAILED;\n\t}\n\treturn execute_traced(options, &launch, &program);", "fail_open::test_ptrace_refused")
broken(5, "a broken policy", "shim/hugexec.c", "\t\treturn fails ? EXIT_FAILED : execute(options);\n\t}\n\tint status", "\t\treturn EXIT_FAILED;\n\t}\n\tint status", "fail_open::test_bad_policy")
broken(5, "a pool without a page for the tracer's heap", "shim/hugexec.c", "\tplain_heap_begin(argv);\n", "", "tunables::test_hugetlb_heap")
broken(1, "the environment that was given to hugexec under another name", "shim/launch/plain_heap.c", "\tmemcpy(variable, tunables, sizeof tunables - 1);\n", "", "tunables::test_command_gets_its_environment")
broken(5, "the report says that the program was moved", "shim/remap/backing_file.c", "\t*rebased = true;\n", "", "right_file::test_moved_and_then_blind")
broken(5, "the report says why", "shim/remap/elf_object.c", "\tif (!error_is_set(all)) {\n\t\t*all = *refusal;\n\t\treturn;\n\t}", "\tif (!error_is_set(all))\n\t\treturn;", "fail_open::test_empty_pool")
broken(5, "the journal says why", "shim/report/deliver.c", "\treport_to_journal(report, unwritten);\n", "", "journal::test_journal_gets_the_fields", "systemd/boot::test_the_journal_has_a_launch")
broken(5, "on_error fail: exit 125", "shim/tracer/exec_event.c", "bool fails = must_fail(report, settings);", "bool fails = false;", "fail_open::test_empty_pool")
broken(5, "on_error fail: before the first instruction", "shim/tracer/exec_event.c", "\t\tfail_launch(&followed->tracee);\n\telse\n\t\trelease(following, followed);", "\t\trelease(following, followed);\n\telse\n\t\trelease(following, followed);", "fail_open::test_empty_pool")
broken(5, "on_error fail ends nothing that a rule does not name", "shim/tracer/exec_event.c", "report->outcome == OUTCOME_FAILED && settings->on_error", "settings->on_error", "fail_open::test_on_error_fail_where_nothing_fails")
broken(5, "the next backing is tried", "shim/remap/elf_object.c", "i < settings->backing_count && done < 0 &&", "i < 1 && done < 0 &&", "fail_open::test_next_backing_is_tried")
broken(5, "a container starts with a hook that can do nothing", "oci-hook/hugexec-oci-hook.c", "\treturn container.on_error == ON_ERROR_FAIL ? EXIT_FAILS : EXIT_SUCCESS;", "\treturn EXIT_FAILS;", "oci/hook_input::test_bad_state")

# 6. The exit status is the program's.
broken(6, "127: not found", "shim/hugexec.c", "EXIT_NOT_FOUND = 127", "EXIT_NOT_FOUND = 1", "commands::test_command_of_another_kind")
broken(6, "126: cannot be executed", "shim/hugexec.c", "EXIT_CANNOT_EXECUTE = 126", "EXIT_CANNOT_EXECUTE = 1", "commands::test_command_of_another_kind")
broken(6, "125: wrong usage", "shim/hugexec.c", "case OPTIONS_WRONG: return EXIT_FAILED;", "case OPTIONS_WRONG: return 2;", "cli::test_wrong_usage")
broken(6, "125: on_error, from inside", "shim/tracer/exec_event.c", "#define EXIT_FAIL 125", "#define EXIT_FAIL 1", "fail_open::test_empty_pool")
broken(6, "125: on_error, before a tracer is there", "shim/hugexec.c", "enum { EXIT_FAILED = 125,", "enum { EXIT_FAILED = 1,", "fail_open::test_ptrace_refused")
broken(6, "a script's, executed as execvp does", "shim/hugexec.c", "\texecvp(file, options->command);", "\texecv(file, options->command);", "commands::test_search_path", "commands::test_command_of_another_kind")

# 7. A tracer that dies leaves no half-changed process.
broken(7, "killed with it while registers are borrowed", "shim/ptrace/tracee.c", "tracee->options | PTRACE_O_EXITKILL | suspend", "tracee->options | suspend", "borrowed::test_masked_whenever_borrowed[thp]", "killed_tracer::test_killed_after_each_step")
broken(7, "and only then", "shim/ptrace/tracee.c", "\t    set_options(tracee, tracee->options, err) < 0) {\n\t\ttracee_kill(tracee);", "\t    0) {\n\t\ttracee_kill(tracee);", "borrowed::test_masked_whenever_borrowed[thp]")
broken(7, "at the hand-off, too", "shim/ptrace/tracee.c", "\tif (inject_begin(tracee, err) < 0)\n\t\treturn -1;\n\tfault_point(\"handoff-borrowed\");", "\tif (inject_begin(tracee, err) < 0)\n\t\treturn -1;\n\tset_options(tracee, tracee->options, NULL);\n\tfault_point(\"handoff-borrowed\");", "borrowed::test_masked_whenever_borrowed[thp]")
broken(7, "no signal meets borrowed registers", "shim/ptrace/tracee.c", "\tif (set_mask(tracee, UINT64_MAX, err) < 0) {", "\tif (set_mask(tracee, 0, err) < 0) {", "borrowed::test_masked_whenever_borrowed[thp]")
broken(7, "registers are given back", "shim/ptrace/tracee.c", "\tif (tracee_set_regs(tracee, &tracee->saved_regs, err) < 0 || set_mask(tracee, tracee->saved_mask, err) < 0 ||", "\tif (set_mask(tracee, tracee->saved_mask, err) < 0 ||", "attach::test_busy_threads", "attach::test_a_call_that_sleeps_goes_on")
broken(7, "a launch whose tracer has died goes on", "shim/launch/spawn_tracer.c", "\t\tif (has_ended(launch, &status))\n\t\t\treturn tracer_died(status, err);\n", "", "killed_tracer::test_killed_at_once")
broken(7, "whose tracer has died and is nobody's to reap", "shim/launch/spawn_tracer.c", "\t\treturn name_end[2] == 'Z' || name_end[2] == 'X';", "\t\treturn false;", "killed_tracer::test_killed_and_never_reaped")
broken(7, "the tracer ends with the workload", "shim/tracer/trace_loop.c", "\t\tconsider_end(following, followed);\n\t\tforget(following, followed);\n", "\t\tfor (;;)\n\t\t\tpause();\n",
       "signals::test_ended_at_any_moment")

# 8. Privileges do not change.
broken(8, "set-uid, set-gid", "shim/tracer/exe_inspect.c", "return is_set_id(fd) || ", "return ", "launch::test_privileged_program[unprivileged-direct-set-uid root]")
broken(8, "file capabilities", "shim/tracer/exe_inspect.c", " || fgetxattr(fd, \"security.capability\", NULL, 0) > 0;", ";", "launch::test_privileged_program[unprivileged-direct-file capability]")
broken(8, "programs that may not be read", "shim/tracer/exe_inspect.c", "\t\t\tout->privileged = true;\n", "", "launch::test_unreadable_program")
broken(8, "through a wrapper", "shim/helper/get_tracer.c", "\tif (!program_tracing_is_harmless())\n", "\tif (0)\n", "launch::test_privileged_program[unprivileged-through exec-set-uid root]",
       "wrappers::test_no_privilege_is_lost_behind_a_users_wrapper")
broken(8, "that execvp finds after another of its name", "shim/hugexec.c", "\tlaunch_stop_tracer(launch);\n", "", "wrappers::test_privileged_program_that_is_found_second")
broken(8, "with CAP_SYS_PTRACE they are traced", "shim/tracer/exe_inspect.c", "\treturn data[0].effective & (1U << CAP_SYS_PTRACE);", "\treturn false;", "launch::test_privileged_program[root-direct-set-uid root]")
broken("file", "libraries on overlayfs are given places that agree", "shim/ptrace/map_hint.c", "\thint->saved_arg = args[0];\n", "\tplace += 4096;\n\thint->saved_arg = args[0];\n", "library_places::test_in_place_on_overlayfs")
broken(1, "what it maps itself lies where the kernel puts it", "shim/ptrace/map_hint.c", "\t\thint->watches =\n\t\t    info.instruction_pointer >= hint->loader_start && info.instruction_pointer < hint->loader_end;\n", "", "library_places::test_other_mappings_lie_where_the_kernel_puts_them")
broken(2, "no zombie of a tracer that could not wait", "shim/ptrace/entry_stop.c", "\tstop->placed->stub.zombie = (uint32_t)zombie_pid;\n", "\t(void)zombie_pid;\n", "library_wait::test_pid_1_whose_tracer")
broken(5, "a program whose libraries took too long", "shim/tracer/exec_event.c", "\t\tnote_missed(&following->list[i]);\n", "", "library_wait::test_libraries_that_take_longer_than_follow_timeout")
broken(6, "of a program that executes another before its entry point", "shim/tracer/trace_loop.c", "\t\tconsider_replaced(following, followed);\n", "",
       "library_wait::test_a_constructor_that_executes_its_program_again")
broken(5, "on_error fail is before constructors", "shim/tracer/exec_event.c", "\tif (must_fail(report, settings))\n", "\tif (0)\n",
       "library_wait::test_fail_is_before_constructors")
broken(5, "a mask that may not be set", "shim/ptrace/tracee.c", "\t\tif (tracee->state == TRACEE_GONE || set_options(tracee, tracee->options, NULL) < 0)\n", "\t\tif (inject_end(tracee, NULL) < 0)\n",
       "library_wait::test_ptrace_request_refused")
broken(7, "while libraries are waited for: nobody is needed", "shim/ptrace/entry_stop.c", "\tsyscall(SYS_set_robust_list, &robust, sizeof robust);\n", "",
       "library_wait::test_tracer_that_is_killed_meanwhile")
broken(7, "a call whose outcome is not known ends the workload", "shim/ptrace/tracee.c", "tracee_get_regs(tracee, &regs, err) < 0) {\n\t\ttracee_kill(tracee);\n\t\treturn -1;",
       "tracee_get_regs(tracee, &regs, err) < 0) {\n\t\treturn -1;", "faults file: tracer ptrace EPERM")
broken(5, "memory that runs out while the policy is read", "shim/policy/json_strict.c", "!has_memory(text, bytes) || !parse_strictly(", "((void)has_memory, false) || !parse_strictly(", "fail_open::test_address_space_of_any_size")
broken(5, "a program without vDSO is remapped all the same", "shim/ptrace/syscall_insn.c", "\tfound = find_in_object(tracee, &image, image.interp_addr);\n", "\tfound = 0;\n\t(void)find_in_object;\n\timage.entry_addr = 0;\n",
       "faults thp: libc vdso hidden")
broken(3, "a program is moved by its own file", "shim/remap/relocate.c", "move->exe_fd = tracee_pass_file(move->tracee, exe_fd, move->scratch_addr);",
       "{ tracee_write(move->tracee, move->scratch_addr, \"/proc/self/exe\", 15); move->exe_fd = (int)remote_syscall(move->tracee, err, SYS_openat, (uint64_t)-100, move->scratch_addr, 0, 0, 0, 0); }", "right_file::test_proc_that_is_no_procfs")
broken(3, "a program's file is the one that is mapped", "shim/mm/mapped_file.c", "\t\tif (!mapping_same_file(&image->mappings[i], &file))\n", "\t\tif (i == 0 || !mapping_is_text(&image->mappings[i]))\n", "right_file::test_process_that_changes_what_its_program_is")
broken("sandbox", "a library's file is the one that is mapped", "shim/mm/mapped_file.c", "\tif (!failed && mapping_same_file(&file, mapping))\n", "\tif (!failed)\n", "library_file::test_another_file_in_its_place")
broken("sandbox", "and is opened with the program's own rights", "shim/mm/file_view.c", "\tview->is_other = view->uid != geteuid() || view->gid != getegid();", "\tview->is_other = false;",
       "library_file::test_a_file_that_it_may_not_read_any_more")
broken("sandbox", "libraries are looked for with the program's own rights", "shim/mm/file_view.c", "\tsetfsuid(view->uid);\n", "", "library_search::test_with_the_programs_rights")
broken("sandbox", "and below its own root", "shim/mm/file_view.c", ".resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS", ".resolve = 0", "library_search::test_in_its_own_root")
broken("sandbox", "a program with privileges is not told by the environment", "shim/remap/libraries.c", ".is_secure = tracee_auxv(tracee, AT_SECURE) != 0,", ".is_secure = false,",
       "library_search::test_set_group_id_ignores_the_environment")
broken(5, "libraries on a filesystem that does not answer", "shim/remap/libraries.c", "run(work, exe_fd, tracee_time_left_ms(tracee, (int)settings->file_timeout_ms));", "run(work, exe_fd, 45000);",
       "dlopen::test_a_filesystem_that_does_not_answer")
broken(3, "text that ld.so will write to is not prepared", "shim/remap/libraries.c", "\telse if (library->has_text_relocations)\n", "\telse if (0)\n", "libraries::test_text_relocations_are_left_alone")
broken(4, "probes count what is mapped", "shim/remap/relocate.c", "\t\tmove->parts[move->count++].as_in_file = own && as_in_file;", "\t\tmove->parts[move->count++].as_in_file = own && (as_in_file || (mapping->prot & PROT_EXEC));",
       "tools::test_semaphore_of_a_probe")
broken(2, "the working directory is free", "shim/launch/tracer_main.c", "\t(void)!chdir(\"/\");\n", "", "wrappers::test_wrapper_that_unmounts_its_working_directory")
broken(2, "nothing in a file that is not standard error any more", "shim/report/deliver.c", "\tif (fd >= 0 && (any_file || is_as_at_launch(fd)))", "\tif (fd >= 0)",
       "standard_error::test_a_data_file_with_number_2")
broken(1, "the cgroup that pays", "shim/tracer/exec_event.c", "\t\ttracee->charges_itself = !host_shares_cgroups(tracee->pid);", "\t\ttracee->charges_itself = false;",
       "wrappers::test_wrapper_that_goes_to_another_cgroup")
broken(5, "a filter that is set on the way", "shim/ptrace/tracee.c", "\tbool is_known = is_told && (filters == 0 || filters <= known);", "\tbool is_known = true;", "filters_later")
broken(5, "a small stack", "shim/hugexec.c", "\tif (room < STACK_FOR_TRACER)\n", "\tif (room < 0)\n", "fail_open::test_small_stack")
broken(5, "a library with threads that is preloaded", "shim/launch/spawn_tracer.c", "\tif (has_other_threads())\n", "\tif (0)\n", "launch::test_preloaded_library_with_a_thread")
broken(5, "a tracer that is never ready", "shim/launch/spawn_tracer.c", "\t\tif (now_ms() >= deadline_ms) {", "\t\tif (0) {", "killed_tracer::test_tracer_that_is_never_ready")
broken(5, "a launch that comes to nothing ends nobody", "shim/launch/spawn_tracer.c", "\tif (launch->tracer_pid > 0) /* else", "\tif (launch->tracer_pid >= 0) /* else",
       "helper::test_what_cannot_be_executed_with_standard_input_closed")
broken("sandbox", "the reader of ELF files locks itself up", "shim/sandbox/elf/hugexec-elf-reader.c", "\treader_lock_up(argv[1], MEMORY_BYTES);\n", "", "unit sandbox")
broken("sandbox", "the reader of bundles locks itself up", "oci-hook/hugexec-bundle-reader.c", "\treader_lock_up(argv[1], MEMORY_BYTES);\n", "", "unit sandbox")
broken("sandbox", "the answer about a bundle is checked", "oci-hook/bundle_answer.c", "answer->status <= BUNDLE_NO_PLACE && holds_annotations(answer);", "true;", "unit bundle")
broken("sandbox", "a reader that has answered is ended", "shim/sandbox/sandbox_spawn.c", "\tkill(reader->pid, SIGKILL);\n", "", "unit sandbox")
broken("sandbox", "its answer is checked", "shim/sandbox/elf/elf_client.c", "\tif (answer->status != ELF_ANSWER_OK || !is_sane(&answer->facts))", "\tif (answer->status != ELF_ANSWER_OK)", "unit elf_reader")

# To a program that runs.
ATTACH = "attach"
broken(ATTACH, "a thread that stops for another reason is asked again", "shim/tracer/stop_threads.c", "event ? 0L : (long)WSTOPSIG(status));\n\t\tptrace(PTRACE_INTERRUPT, thread->pid, 0, 0);", "event ? 0L : (long)WSTOPSIG(status));",
       "attach::test_threads_that_start_threads")
broken(ATTACH, "a signal that comes while a thread is being stopped is passed on", "shim/tracer/stop_threads.c", "event ? 0L : (long)WSTOPSIG(status));", "0L);", "attach::test_no_signal_is_lost")
broken(ATTACH, "a thread that cannot be stopped is no thread that has ended", "shim/tracer/stop_threads.c", "\t\t\treturn is_alive(pid, tid)\n", "\t\t\treturn false\n", "attach::test_traced_by_somebody_else")
broken(ATTACH, "private pages are looked for", "shim/mm/cow_pages.c", "\treturn (entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) && !(entry & ENTRY_FILE);", "\treturn entry == 1;", "attach::test_text_that_was_changed_is_left_alone")
broken(ATTACH, "the process may be killed while all threads stand", "shim/ptrace/tracee.c", "\tif (tracee->wait)\n\t\treturn tracee->wait(tracee, status);\n", "", "attach::test_killed_while_all_threads_stand")
broken(ATTACH, "restartable sequences are aborted", "shim/ptrace/tracee.c", "\tif (tracee->wait)\n\t\tabort_sequence(tracee);\n", "\tif (0)\n\t\tabort_sequence(tracee);\n", "attach::test_restartable_sequences")
broken(ATTACH, "no child has the copy where that cannot be taken back", "shim/remap/private_copy.c", "\tif (!copy->children_inherit && !copy->keeps_fd)\n", "\tif (!copy->keeps_fd)\n", "unit remap")
broken(ATTACH, "no child has the copy's descriptor", "shim/remap/private_copy.c", "\tif (stop_others(copy, err) < 0)\n\t\treturn -1;\n\tint result = while_borrowed(copy, create_aside, err);\n",
       "\tint result = while_borrowed(copy, create_aside, err);\n", "attach::test_no_fork_while_its_descriptor_is_open")

# 9. Held by its own work only.
broken(9, "no signal of our own writing", "shim/base/say.c", "\tsigprocmask(SIG_BLOCK, &ours, &before);\n", "\tsigprocmask(SIG_BLOCK, NULL, &before);\n", "unit say")
broken(9, "no signal of what is written aside", "shim/base/aside.c", "\tsignal(SIGPIPE, SIG_IGN);\n", "", "unit say")
broken(9, "what is written aside has a limit", "shim/base/aside.c", "now_ms() >= deadline_ms || ", "", "unit say")
broken(9, "SIGKILL ends it at once", "shim/tracer/exec_event.c", "\tstop_at_exit(tracee, false);\n", "", "hold::test_killed_while_it_is_held[full_pipe-behind a wrapper]")
broken(9, "no name service", "shim/host/users.c", "aside(ask_name_service, &question, timeout_ms, -1)", "ask_name_service(&question)",
       "hold::test_name_service[itself-dies-skipped-user-unknown]")
broken(9, "no disk: a copy is given up", "shim/ptrace/tracee.c", "tracee_time_left_ms(tracee, INT_MAX), pidfd)", "INT_MAX, pidfd)",
       "files_change::test_slow_disk_and_a_copy[thp]")
broken(9, "a disk holds no pipe of the workload's", "shim/report/deliver.c", "\t\tclose_all_but(at_launch.report_fd);\n", "\t\tat_launch.report_fd = -1;\n",
       "hold::test_a_frozen_filesystem")
