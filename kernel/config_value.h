// SPDX-License-Identifier: Apache-2.0
// One value of the configuration: read from the text, judged by its key, stored. Used by kernel/config only.
#pragma once

#include "kernel/config.h"

// Reads the value that follows the key, stores it in `record` and its position in *at. A wrong value is
// reported and not stored, and still returns 0 (*at is set: the key was given); only broken syntax returns
// -ERR_FORMAT.
__must_check int config_value_read(struct toml *toml, const struct config_key *key, void *record,
                                   struct toml_at *at);
// Reads past a value whose key was refused.
__must_check int config_value_skip(struct toml *toml);
