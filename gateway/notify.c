/*
 * systemd's notifications; see notify.h and sd_notify(3).
 */
#include "gateway/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_BYTES 512

bool
notify_wanted(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path != NULL && (path[0] == '/' || path[0] == '@');
}

void
notify_send(const char *fmt,...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char		message[MESSAGE_BYTES];
	va_list		ap;
	const struct timeval patience = {1, 0};	/* whoever does not read must not stop us */
	int			len;
	int			fd;

	if (!notify_wanted() || strlen(path) >= sizeof(address.sun_path))
		return;
	va_start(ap, fmt);
	len = vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (len < 0 || len >= MESSAGE_BYTES)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	memcpy(address.sun_path, path, strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = '\0';	/* an abstract name */
	/* nobody to tell when it cannot be sent */
	(void) !sendto(fd, message, (size_t) len, MSG_NOSIGNAL, (struct sockaddr *) &address,
				   (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(path)));
	close(fd);
}

int64_t
notify_watchdog_us(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	long long	us = usec ? strtoll(usec, NULL, 10) : 0;

	if (!notify_wanted() || us <= 0 || (pid != NULL && atoi(pid) != getpid()))
		return 0;
	return us;
}
