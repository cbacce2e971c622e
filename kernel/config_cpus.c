// SPDX-License-Identifier: Apache-2.0
// What only the whole file shows of physical CPUs: the policy of each, who may be on a dedicated one, and whether
// every vCPU finds a CPU with room for its budget, by the rule of sched_add.
#include "kernel/config.h"

#include "kernel/lib/bits.h"

#define for_each_cpu(cpu, cpus)                                                                              \
	for (uint32_t cpu = 0; cpu < CONFIG_CPU_MAX; cpu++)                                                      \
		if (bitmap_test(cpus, cpu))

static void check_tables(struct config *config, struct toml_report *report) {
	uint32_t line[CONFIG_CPU_MAX] = {0};
	for (uint32_t i = 0; i < config->cpu_count; i++) {
		const struct config_cpu *cpu = &config->cpu[i];
		for_each_cpu(n, cpu->cpus) {
			if (line[n] != 0)
				toml_error(config->file, report, cpu->at[CONFIG_CPU_CPUS],
				           "CPU %u is already in the [[cpu]] of line %u", n, line[n]);
			line[n] = cpu->table.line;
			config->policy[n] = (uint8_t)cpu->policy;
		}
	}
}

void config_check_cpus(struct config *config, struct toml_report *report) {
	uint32_t owner[CONFIG_CPU_MAX] = {0}; // line of the VM
	check_tables(config, report);
	for (uint32_t i = 0; i < config->vm_count; i++) {
		struct config_vm *vm = &config->vm[i];
		uint32_t all = 0, own = 0;
		for_each_cpu(n, vm->cpus) {
			all++;
			if (config->policy[n] != CONFIG_POLICY_DEDICATED) continue;
			if (vm->at[CONFIG_VM_CPUS].line == 0) {
				vm->cpus[n / 64] &= ~BIT64(n % 64); // not one of "all"
				continue;
			}
			own++;
			if (owner[n] != 0)
				toml_error(config->file, report, vm->at[CONFIG_VM_CPUS],
				           "CPU %u is dedicated, and the VM of line %u has it", n, owner[n]);
			owner[n] = vm->table.line;
		}
		if (own != 0 && (own != all || own != vm->vcpus || vm->budget_us != 0))
			toml_error(config->file, report, vm->at[CONFIG_VM_CPUS],
			           "%u of these %u CPUs are dedicated: %u vCPUs take as many dedicated CPUs, no others, "
			           "and no budget",
			           own, all, vm->vcpus);
		if (vm->budget_us > vm->period_us || (vm->budget_us == 0 && vm->period_us != 0))
			toml_error(
			    config->file, report,
			    vm->budget_us != 0 ? vm->at[CONFIG_VM_BUDGET] : vm->at[CONFIG_VM_PERIOD],
			    "\"budget\" is %u us of a \"period\" of %u us: both are needed, a budget in its period",
			    vm->budget_us, vm->period_us);
	}
}

#define WHOLE_PPM 1000000u

void config_check_room(const struct config *config, uint32_t cpus, struct toml_report *report) {
	struct {
		uint32_t vcpus, ppm;
	} load[CONFIG_CPU_MAX] = {0};
	for (uint32_t i = 0; i < config->vm_count; i++) {
		const struct config_vm *vm = &config->vm[i];
		uint32_t ppm =
		    vm->period_us == 0 ? 0 : (uint32_t)((uint64_t)vm->budget_us * WHOLE_PPM / vm->period_us);
		for (uint32_t k = 0; k < vm->vcpus; k++) {
			uint64_t best = UINT64_MAX; // full, number of vCPUs, CPU
			for_each_cpu(n, vm->cpus) {
				bool full = load[n].ppm + ppm > WHOLE_PPM;
				uint64_t rank = (uint64_t)full << 63 | (uint64_t)load[n].vcpus << 32 | n;
				if (n < cpus) best = min_u64(best, rank);
			}
			uint32_t cpu = (uint32_t)best % CONFIG_CPU_MAX, sum = load[cpu].ppm + ppm;
			if (best == UINT64_MAX)
				toml_error(config->file, report, vm->table,
				           "no CPU is left for this VM: those that there are are dedicated");
			else if (best >> 63 != 0)
				toml_error(config->file, report, vm->at[CONFIG_VM_BUDGET],
				           "the budgets on CPU %u add up to %u.%02u %% of it: at most 100 %% can be given",
				           cpu, sum / (WHOLE_PPM / 100), sum / (WHOLE_PPM / 10000) % 100);
			else
				load[cpu].vcpus++, load[cpu].ppm = sum;
		}
	}
}
