/*
 * ccproxy-gateway login-link: prints a one-time link to the dashboard.
 */
#ifndef GATEWAY_LOGIN_LINK_H
#define GATEWAY_LOGIN_LINK_H

/* argv[1] is "login-link"; the process's exit status. */
int			login_link_main(int argc, char **argv);

#endif
