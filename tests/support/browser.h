/* browser.h - a real Chromium without a window, driven over WebDriver. One at a time. Failures end the test. */
#ifndef SUPPORT_BROWSER_H
#define SUPPORT_BROWSER_H

#include <jansson.h>
#include <stdbool.h>

/* Skips the suite, aloud, where chromium or chromedriver is missing. */
void browser_or_skip(void);
/* Its files and its driver's log go into dir. 1280 pixels wide, 800 high. */
void browser_start(const char *dir);
void browser_stop(void);

void browser_open(const char *url);
/* One WebDriver command of the session; its value, owned by the caller. Takes body (NULL: none). */
json_t *browser_command(const char *path, json_t *body, const char *method);
/* Runs a script in the page; its value, owned by the caller. */
json_t *browser_script(const char *text);
bool browser_holds(const char *condition);
void browser_wait_until(const char *condition);
/* A key as WebDriver names it: a character, or \uE0xx for special ones. */
void browser_press(const char *key);
/* Of the element that a CSS selector finds. */
void browser_click(const char *selector);
void browser_type(const char *selector, const char *text);
void browser_resize(int width, int height);
void browser_scheme(const char *name); /* "dark" or "light" */
/* $RLHF_BUILD/artefacts/NAME.png of what the window shows. */
void browser_screenshot(const char *name);

#endif
