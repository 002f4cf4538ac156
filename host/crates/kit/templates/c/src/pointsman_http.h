// HTTP requests over `wasi:http`. Leave this file and `pointsman_http.c` as they are.
//
// `[http] allow` of the handler's settings says what may be requested. Any status
// is a response; where none came, `status` is 0 and `error` says why. Redirects are
// followed where `redirects` says so: each must be granted, and `authorization` and
// `cookie` do not go to another origin. As everywhere here, nothing has to be freed.

#ifndef POINTSMAN_HTTP_H
#define POINTSMAN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pointsman.h"

typedef struct {
  const char *name;
  const char *value;
} pm_http_field;

typedef struct {
  const char *method;            // NULL: GET, or POST where there is a body
  const char *url;               // http or https
  const pm_http_field *headers;  // the last has the name NULL; NULL: none
  const void *body;              // NULL: none
  size_t body_bytes;
  uint32_t timeout_ms;           // for the connection and for each wait; 0: as the host has it
  uint32_t redirects;            // how many are followed, 10 at most; 0: they are responses
} pm_http_request;

typedef struct {
  int status;                    // 0: no response came
  const char *error;             // why none came, else NULL
  bool may_pass;                 // the error may be gone another time
  const pm_http_field *headers;  // names in lower case; the last has the name NULL
  const char *body;              // ends with a NUL that is not counted
  size_t body_bytes;
  const char *url;               // where it came from, after redirects
} pm_http_response;

// Sends a request and waits for all of its response.
pm_http_response pm_http_send(const pm_http_request *request);
// Sends `count` requests at once and waits for all responses: it takes as long as the slowest.
void pm_http_send_all(const pm_http_request *requests, size_t count, pm_http_response *responses);
// The first header of that name, in any case, or NULL.
const char *pm_http_header(const pm_http_response *response, const char *name);
// What to return where no response came: unavailable if that may pass, else rejected.
pm_result pm_http_failure(const pm_http_response *response);

#endif
