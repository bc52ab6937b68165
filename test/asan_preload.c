/*
 * Preloaded beside libasan into the test server: message catalogues are not
 * looked up there. With libasan preloaded, the constructors of libgpg-error and
 * libgnutls (which postgres links through libldap) leave glibc's catalogue lock
 * behind in a state that makes the next bindtextdomain() wait for ever.
 */
char	   *bindtextdomain(const char *domain, const char *folder);
char	   *bind_textdomain_codeset(const char *domain, const char *codeset);
char	   *textdomain(const char *domain);

char *
bindtextdomain(const char *domain, const char *folder)
{
	(void) domain;
	return (char *) folder;
}

char *
bind_textdomain_codeset(const char *domain, const char *codeset)
{
	(void) domain;
	return (char *) codeset;
}

char *
textdomain(const char *domain)
{
	return (char *) domain;
}
