#include "pointsman_http.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "handler.h"

enum {
  CHUNK_BYTES = 65536,
  // A longer chain is usually endless. The same in every SDK.
  REDIRECTS_MAX = 10,
};

// A request in progress. It makes progress until it has to wait for `pollable`.
typedef struct {
  enum { UPLOADING, WAITING, READING, DONE } at;
  const pm_http_request *request;
  pm_http_response *response;
  uint32_t redirects;
  size_t sent;
  wasi_http_types_own_outgoing_body_t upload;
  wasi_io_streams_own_output_stream_t sink;
  wasi_http_types_own_future_incoming_response_t future;
  wasi_http_types_own_incoming_response_t incoming;
  wasi_http_types_own_incoming_body_t body;
  wasi_io_streams_own_input_stream_t source;
  wasi_io_poll_own_pollable_t pollable;
} exchange;

// Without memory nothing can be reported here: the host reports the trap.
static void *grown(void *memory, size_t size) {
  memory = realloc(memory, size);
  if (!memory) __builtin_trap();
  return memory;
}

static char *copied(const void *bytes, size_t length) {
  char *text = grown(NULL, length + 1);
  if (length) memcpy(text, bytes, length);
  text[length] = 0;
  return text;
}

static handler_string_t as_string(const char *text, size_t length) {
  return (handler_string_t){(uint8_t *)copied(text, length), length};
}

static void fail(exchange *it, bool may_pass, const char *reason) {
  const char *url = it->request->url ? it->request->url : "(null)";
  size_t size = strlen(url) + strlen(reason) + 3;
  char *error = grown(NULL, size);
  snprintf(error, size, "%s: %s", url, reason);
  *it->response = (pm_http_response){0, error, may_pass, NULL, NULL, 0, url};
  it->at = DONE;
}

// In the order of `error-code` in wasi:http.
static const char *const ERRORS[] = {
    "DNS timeout", "DNS error", "destination not found", "destination unavailable", "destination IP prohibited",
    "destination IP unroutable", "connection refused", "connection terminated", "connection timeout",
    "connection read timeout", "connection write timeout", "connection limit reached", "TLS protocol error",
    "TLS certificate error", "TLS alert received", "request denied", "request length required", "request body size",
    "request method invalid", "request URI invalid", "request URI too long", "request header section size",
    "request header size", "request trailer section size", "request trailer size", "response incomplete",
    "response header section size", "response header size", "response body size", "response trailer section size",
    "response trailer size", "response transfer coding", "response content coding", "response timeout",
    "upgrade failed", "protocol error", "loop detected", "configuration error", "internal error",
};

// Errors that a retry does not fix: a request that is not granted or not valid, a
// response over a limit. The same in every SDK.
static bool is_permanent(const wasi_http_types_error_code_t *code) {
  switch (code->tag) {
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED:
    case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_IP_PROHIBITED:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_LENGTH_REQUIRED:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_BODY_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_METHOD_INVALID:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_URI_INVALID:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_URI_TOO_LONG:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_HEADER_SECTION_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_HEADER_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_TRAILER_SECTION_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_TRAILER_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_HEADER_SECTION_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_HEADER_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_BODY_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TRAILER_SECTION_SIZE:
    case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TRAILER_SIZE:
      return true;
    default:
      return false;
  }
}

static void fail_with(exchange *it, const wasi_http_types_error_code_t *code) {
  bool known = code->tag < sizeof ERRORS / sizeof *ERRORS;
  fail(it, !is_permanent(code), known ? ERRORS[code->tag] : "unknown error");
}

static wasi_http_types_method_t method_of(const pm_http_request *request) {
  static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  const char *name = request->method ? request->method : request->body ? "POST" : "GET";
  wasi_http_types_method_t method = {.tag = WASI_HTTP_TYPES_METHOD_OTHER};
  for (uint8_t tag = 0; tag < sizeof names / sizeof *names; tag++)
    if (!strcmp(names[tag], name)) method.tag = tag;
  if (method.tag == WASI_HTTP_TYPES_METHOD_OTHER) method.val.other = as_string(name, strlen(name));
  return method;
}

static bool append(wasi_http_types_own_fields_t fields, const char *name, const char *value) {
  wasi_http_types_field_name_t key = as_string(name, strlen(name));
  wasi_http_types_field_value_t bytes = {(uint8_t *)copied(value, strlen(value)), strlen(value)};
  wasi_http_types_header_error_t error;
  return wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(fields), &key, &bytes, &error);
}

static bool add_headers(wasi_http_types_own_fields_t fields, const pm_http_request *request) {
  for (const pm_http_field *header = request->headers; header && header->name; header++)
    if (!append(fields, header->name, header->value ? header->value : "")) return false;
  char length[32];
  snprintf(length, sizeof length, "%zu", request->body_bytes);
  return !request->body || append(fields, "content-length", length);
}

// Sets the request's destination; false if the URL is not valid.
static bool address(wasi_http_types_borrow_outgoing_request_t outgoing, const char *url) {
  if (!url) return false;
  bool secure = !strncasecmp(url, "https://", 8);
  if (!secure && strncasecmp(url, "http://", 7)) return false;
  const char *host = url + (secure ? 8 : 7);
  size_t host_length = strcspn(host, "/?#");
  if (host_length == 0 || memchr(host, '@', host_length)) return false;
  const char *path = host + host_length;
  size_t path_length = strcspn(path, "#");
  char *target = grown(NULL, path_length + 2);
  snprintf(target, path_length + 2, "%s%.*s", *path == '/' ? "" : "/", (int)path_length, path);
  wasi_http_types_scheme_t scheme = {.tag = secure ? WASI_HTTP_TYPES_SCHEME_HTTPS : WASI_HTTP_TYPES_SCHEME_HTTP};
  handler_string_t authority = as_string(host, host_length);
  handler_string_t path_with_query = as_string(target, strlen(target));
  return wasi_http_types_method_outgoing_request_set_scheme(outgoing, &scheme) &&
         wasi_http_types_method_outgoing_request_set_authority(outgoing, &authority) &&
         wasi_http_types_method_outgoing_request_set_path_with_query(outgoing, &path_with_query);
}

static wasi_http_types_own_request_options_t options_of(const pm_http_request *request) {
  wasi_http_types_own_request_options_t options = wasi_http_types_constructor_request_options();
  if (request->timeout_ms == 0) return options;
  wasi_http_types_duration_t duration = (uint64_t)request->timeout_ms * 1000000;
  wasi_http_types_borrow_request_options_t self = wasi_http_types_borrow_request_options(options);
  wasi_http_types_method_request_options_set_connect_timeout(self, &duration);
  wasi_http_types_method_request_options_set_first_byte_timeout(self, &duration);
  wasi_http_types_method_request_options_set_between_bytes_timeout(self, &duration);
  return options;
}

static void start(exchange *it) {
  const pm_http_request *request = it->request;
  wasi_http_types_own_fields_t fields = wasi_http_types_constructor_fields();
  if (!add_headers(fields, request)) return fail(it, false, "a header is not valid");
  wasi_http_types_own_outgoing_request_t outgoing = wasi_http_types_constructor_outgoing_request(fields);
  wasi_http_types_borrow_outgoing_request_t self = wasi_http_types_borrow_outgoing_request(outgoing);
  wasi_http_types_method_t method = method_of(request);
  if (!wasi_http_types_method_outgoing_request_set_method(self, &method)) return fail(it, false, "the method is not valid");
  if (!address(self, request->url)) return fail(it, false, "not a valid http or https URL");
  it->at = WAITING;
  if (request->body && wasi_http_types_method_outgoing_request_body(self, &it->upload) &&
      wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(it->upload), &it->sink))
    it->at = UPLOADING;
  wasi_http_types_own_request_options_t options = options_of(request);
  wasi_http_types_error_code_t error;
  if (!wasi_http_outgoing_handler_handle(outgoing, &options, &it->future, &error)) fail_with(it, &error);
}

// The three steps of an exchange. Each returns true if it made progress, and false if it has to wait.

static bool upload(exchange *it) {
  wasi_io_streams_borrow_output_stream_t sink = wasi_io_streams_borrow_output_stream(it->sink);
  wasi_io_streams_stream_error_t stopped;
  uint64_t room = 0;
  size_t left = it->request->body_bytes - it->sent;
  // A server that stops reading may still have responded.
  bool open = left && wasi_io_streams_method_output_stream_check_write(sink, &room, &stopped);
  if (open && room == 0) {
    it->pollable = wasi_io_streams_method_output_stream_subscribe(sink);
    return false;
  }
  if (open) {
    size_t length = left < room ? left : room;
    if (length > CHUNK_BYTES) length = CHUNK_BYTES;
    handler_list_u8_t part = {(uint8_t *)copied((const char *)it->request->body + it->sent, length), length};
    open = wasi_io_streams_method_output_stream_write(sink, &part, &stopped);
    free(part.ptr);
    it->sent += length;
    if (open) return true;
  }
  wasi_io_streams_method_output_stream_flush(sink, &stopped);
  wasi_io_streams_output_stream_drop_own(it->sink);
  wasi_http_types_error_code_t ignored;
  wasi_http_types_static_outgoing_body_finish(it->upload, NULL, &ignored);
  it->at = WAITING;
  return true;
}

static bool receive(exchange *it) {
  wasi_http_types_borrow_future_incoming_response_t future = wasi_http_types_borrow_future_incoming_response(it->future);
  wasi_http_types_result_result_own_incoming_response_error_code_void_t got;
  if (!wasi_http_types_method_future_incoming_response_get(future, &got)) {
    it->pollable = wasi_http_types_method_future_incoming_response_subscribe(future);
    return false;
  }
  wasi_http_types_future_incoming_response_drop_own(it->future);
  if (got.is_err || got.val.ok.is_err) {
    if (got.is_err) fail(it, true, "no response");
    else fail_with(it, &got.val.ok.val.err);
    return true;
  }
  it->incoming = got.val.ok.val.ok;
  wasi_http_types_borrow_incoming_response_t incoming = wasi_http_types_borrow_incoming_response(it->incoming);
  wasi_http_types_own_fields_t fields = wasi_http_types_method_incoming_response_headers(incoming);
  wasi_http_types_list_tuple2_field_name_field_value_t entries;
  wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(fields), &entries);
  wasi_http_types_fields_drop_own(fields);
  pm_http_field *headers = grown(NULL, (entries.len + 1) * sizeof *headers);
  for (size_t i = 0; i < entries.len; i++) {
    char *name = copied(entries.ptr[i].f0.ptr, entries.ptr[i].f0.len);
    for (char *letter = name; *letter; letter++) *letter = (char)tolower((unsigned char)*letter);
    headers[i] = (pm_http_field){name, copied(entries.ptr[i].f1.ptr, entries.ptr[i].f1.len)};
  }
  headers[entries.len] = (pm_http_field){NULL, NULL};
  int status = wasi_http_types_method_incoming_response_status(incoming);
  *it->response = (pm_http_response){status, NULL, false, headers, copied("", 0), 0, it->request->url};
  bool has_body = wasi_http_types_method_incoming_response_consume(incoming, &it->body) &&
                  wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(it->body), &it->source);
  it->at = has_body ? READING : DONE;
  return true;
}

static bool read(exchange *it) {
  wasi_io_streams_borrow_input_stream_t source = wasi_io_streams_borrow_input_stream(it->source);
  wasi_io_streams_stream_error_t ended;
  handler_list_u8_t part;
  if (wasi_io_streams_method_input_stream_read(source, CHUNK_BYTES, &part, &ended)) {
    if (part.len == 0) {
      it->pollable = wasi_io_streams_method_input_stream_subscribe(source);
      return false;
    }
    pm_http_response *response = it->response;
    char *body = grown((char *)response->body, response->body_bytes + part.len + 1);
    memcpy(body + response->body_bytes, part.ptr, part.len);
    response->body_bytes += part.len;
    body[response->body_bytes] = 0;
    response->body = body;
    handler_list_u8_free(&part);
    return true;
  }
  wasi_io_streams_input_stream_drop_own(it->source);
  wasi_http_types_incoming_body_drop_own(it->body);
  wasi_http_types_incoming_response_drop_own(it->incoming);
  it->at = DONE;
  if (ended.tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED) return true;
  wasi_http_types_error_code_t code;
  if (wasi_http_types_http_error_code(wasi_io_error_borrow_error(ended.val.last_operation_failed), &code)) fail_with(it, &code);
  else fail(it, true, "the response broke off");
  return true;
}

// The path up to the query, with `.` and `..` resolved.
static void remove_dots(char *path) {
  char *to = path, *from = path;
  while (*from == '/') {
    size_t length = 1 + strcspn(from + 1, "/?");
    bool last = from[length] != '/', one = !strncmp(from, "/.", length) && length == 2;
    bool two = !strncmp(from, "/..", length) && length == 3;
    if (two)
      while (to > path && *--to != '/') {}
    if (!one && !two) {
      memmove(to, from, length);
      to += length;
    } else if (last) {
      *to++ = '/';
    }
    from += length;
  }
  memmove(to, from, strlen(from) + 1);
}

// Resolves `reference` against `base` (RFC 3986, 5.2). The result need not be valid.
static char *joined(const char *base, const char *reference) {
  size_t length = strcspn(reference, "#"), scheme = strcspn(base, ":") + 1;
  size_t origin = scheme + 2 + strcspn(base + scheme + 2, "/?#"), path = origin + strcspn(base + origin, "?#");
  if (length > 0 && reference[strcspn(reference, ":/?#")] == ':') return copied(reference, length);
  size_t kept = origin;
  if (!strncmp(reference, "//", 2)) kept = scheme;
  else if (length == 0) kept = path + strcspn(base + path, "#");
  else if (*reference == '?') kept = path;
  else if (*reference != '/')
    while (path > origin && base[kept = path - 1] != '/') path--;
  bool slash = kept != scheme && length > 0 && *reference != '/' && *reference != '?';
  char *url = grown(NULL, kept + length + 2);
  snprintf(url, kept + length + 2, "%.*s%s%.*s", (int)kept, base, slash ? "/" : "", (int)length, reference);
  if (kept == origin || slash) remove_dots(url + origin);
  return url;
}

// Whether scheme, host and port are spelled the same.
static bool same_origin(const char *a, const char *b) {
  size_t scheme = strcspn(a, ":") + 3, length = scheme + strcspn(a + scheme, "/?#");
  return !strncasecmp(a, b, length) && strchr("/?#", b[length]);
}

static bool is_one_of(const char *name, const char *const *names) {
  for (; *names; names++)
    if (!strcasecmp(name, *names)) return true;
  return false;
}

// The headers that are sent along to the target of a redirect.
static const pm_http_field *kept_headers(const pm_http_field *headers, bool credentials, bool body) {
  static const char *const of_origin[] = {"authorization", "cookie", NULL};
  static const char *const of_body[] = {"content-encoding", "content-language", "content-length", "content-location", "content-type", NULL};
  size_t count = 0;
  while (headers && headers[count].name) count++;
  pm_http_field *kept = grown(NULL, (count + 1) * sizeof *kept);
  size_t at = 0;
  for (size_t i = 0; i < count; i++) {
    bool stays = (!credentials && is_one_of(headers[i].name, of_origin)) || (!body && is_one_of(headers[i].name, of_body));
    if (!stays) kept[at++] = headers[i];
  }
  kept[at] = (pm_http_field){NULL, NULL};
  return kept;
}

// Starts over with the request that a redirect leads to; false if the response is none.
static bool redirected(exchange *it) {
  const pm_http_request *request = it->request;
  int status = it->response->status;
  bool redirects = (status >= 301 && status <= 303) || status == 307 || status == 308;
  const char *location = redirects ? pm_http_header(it->response, "location") : NULL;
  if (!location || request->redirects == 0) return false;
  uint32_t max = request->redirects < REDIRECTS_MAX ? request->redirects : REDIRECTS_MAX;
  if (it->redirects == max) {
    char reason[64];
    snprintf(reason, sizeof reason, "more than %u redirects", (unsigned)max);
    fail(it, false, reason);
    return false;
  }
  const char *method = request->method ? request->method : request->body ? "POST" : "GET";
  bool get = status == 303 ? strcmp(method, "GET") && strcmp(method, "HEAD") : status < 303 && !strcmp(method, "POST");
  pm_http_request *next = grown(NULL, sizeof *next);
  *next = *request;
  next->url = joined(request->url, location);
  next->method = get ? "GET" : method;
  if (get) next->body = NULL;
  next->headers = kept_headers(request->headers, same_origin(request->url, next->url), !get);
  *it = (exchange){.request = next, .response = it->response, .redirects = it->redirects + 1};
  start(it);
  return true;
}

// Continues until it has to wait; true once it is done.
static bool advance(exchange *it) {
  do {
    for (bool moves = true; moves && it->at != DONE;)
      moves = it->at == UPLOADING ? upload(it) : it->at == WAITING ? receive(it) : read(it);
  } while (it->at == DONE && redirected(it));
  return it->at == DONE;
}

void pm_http_send_all(const pm_http_request *requests, size_t count, pm_http_response *responses) {
  if (count == 0) return;
  exchange *all = grown(NULL, count * sizeof *all), **waiting = grown(NULL, count * sizeof *waiting);
  wasi_io_poll_borrow_pollable_t *pollables = grown(NULL, count * sizeof *pollables);
  for (size_t i = 0; i < count; i++) {
    all[i] = (exchange){.request = &requests[i], .response = &responses[i]};
    start(&all[i]);
  }
  for (;;) {
    size_t open = 0;
    for (size_t i = 0; i < count; i++) {
      if (advance(&all[i])) continue;
      pollables[open] = wasi_io_poll_borrow_pollable(all[i].pollable);
      waiting[open++] = &all[i];
    }
    if (open == 0) break;
    wasi_io_poll_list_borrow_pollable_t list = {pollables, open};
    handler_list_u32_t ready;
    wasi_io_poll_poll(&list, &ready);
    handler_list_u32_free(&ready);
    // Those that are not ready are polled again.
    for (size_t i = 0; i < open; i++) wasi_io_poll_pollable_drop_own(waiting[i]->pollable);
  }
  free(all);
  free(waiting);
  free(pollables);
}

pm_http_response pm_http_send(const pm_http_request *request) {
  pm_http_response response;
  pm_http_send_all(request, 1, &response);
  return response;
}

const char *pm_http_header(const pm_http_response *response, const char *name) {
  for (const pm_http_field *header = response->headers; name && header && header->name; header++)
    if (!strcasecmp(header->name, name)) return header->value;
  return NULL;
}

pm_result pm_http_failure(const pm_http_response *response) {
  const char *error = response->error ? response->error : "the response is not what was expected";
  return response->may_pass ? pm_unavailable(-1, "%s", error) : pm_rejected("%s", error);
}
