/*
 * Admission: what a request's line and headers say. Finds the route and checks
 * host, origin, method, token and the kind and size of the body.
 */
#ifndef GATEWAY_ADMISSION_H
#define GATEWAY_ADMISSION_H

#include "gateway/request.h"

/*
 * Sets r->id and r->route; sets the answer where the request is refused. length
 * is the announced size of the body, 0 when there is none.
 */
void		admit(struct request *r, const char *method, uint64_t length);

#endif
