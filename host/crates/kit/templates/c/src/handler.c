// Greets by name.

#include <string.h>

#include "pointsman.h"

pm_result pm_handle(const pm_command *command) {
  // A wrong command is rejected and not retried.
  pm_result failure;
  const char *name = pm_string_field(command, "name", &failure);
  if (!name) return failure;
  // A temporary failure is unavailable: the command is retried.
  const char *closed = pm_config("closed");
  if (closed && strcmp(closed, "true") == 0) return pm_unavailable(30000, "the desk is closed");
  pm_log(PM_INFO, "greeting %s", name);
  const char *greeting = pm_config("greeting");
  return pm_answer("{\"greeting\":%s}", pm_quote("%s %s", greeting ? greeting : "hello", name));
}
