// SPDX-License-Identifier: Apache-2.0
// For the tests of the rules of arch/x86/guest/entrycheck.h: that a broken one is named, and that each was broken once.
#pragma once

#include "arch/x86/guest/entrycheck.h"
#include "tests/unit/support.h"

#define ENTRY_RULES_MAX 512u

// One of the broken rules has exactly this section number and text, with its segment.
static inline void entry_rule_named(const struct entry_broken *broken, unsigned count,
                                    const struct entry_rules *rules, bool *hit, const char *change,
                                    const char *section, const char *text) {
	char said[200] = "nothing";
	bool found = false;
	for (unsigned i = count; i-- > 0;) {
		const char *title = broken[i].section->title;
		size_t number = strcspn(title, " ");
		hit[broken[i].rule - rules->rule] = true;
		snprintf(said, sizeof said, "%s%s", broken[i].subject, broken[i].rule->text);
		if (strcmp(said, text) == 0 && strlen(section) == number && memcmp(title, section, number) == 0)
			found = true;
	}
	if (!found)
		fail_msg("%s: \"%s: %s\" expected, first of %u is \"%s\"", change, section, text, count, said);
}

// A rule that no test broke is dead, or a test is missing.
static inline void entry_rules_all_hit(const struct entry_rules *rules, const bool *hit) {
	assert_in_range(rules->rules, 1, ENTRY_RULES_MAX);
	for (unsigned i = 0; i < rules->rules; i++)
		if (!hit[i]) fail_msg("rule %u, \"%s\", is never broken", i, rules->rule[i].text);
}
