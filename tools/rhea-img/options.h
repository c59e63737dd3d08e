/* SPDX-License-Identifier: MIT */
/*
 * Command options as tables: one row gives parsing, help and usage.
 *
 * Each command has a struct of arguments, set to the defaults, and rows that say where a value
 * goes:
 *
 *     typedef struct InfoArgs { OpenArgs image; bool json, chain; } InfoArgs;
 *     static const ImgOption info_options[] = {
 *         OPTION_OBJECT, OPTION_IMAGE_OPTS(InfoArgs, image), ...
 *         { 0, "backing-chain", NULL, IMG_FLAG, offsetof(InfoArgs, chain),
 *           "also show the backing files" },
 *         OPTION_END };
 *     const ImgCommand img_info_command = { "info", info_options, "filename", 1, 1,
 *                                           "Expecting one image file name", img_info };
 *
 * The process runs one command, in one thread.
 */
#ifndef TOOLS_RHEA_IMG_OPTIONS_H
#define TOOLS_RHEA_IMG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum ImgKind {
    IMG_FLAG,        /* bool: true */
    IMG_CLEAR,       /* bool: false */
    IMG_TEXT,        /* const char * */
    IMG_SIZE,        /* uint64_t, with suffixes */
    IMG_OPTS,        /* NodeOpts *: "a=b,c=d", several times */
    IMG_OUTPUT,      /* bool: json, not human */
    IMG_OBJECT,      /* made at once */
    IMG_CALL,        /* call(args, value) */
} ImgKind;

typedef struct ImgOption {
    char letter;               /* 0: none */
    const char *name;          /* long form, or NULL */
    const char *arg;           /* name of the argument; NULL: none */
    ImgKind kind;
    size_t at;                 /* in the arguments */
    const char *help;
    bool (*call)(void *args, const char *value);
    bool required;             /* in the usage only; the command says what it misses */
} ImgOption;

typedef struct ImgCommand {
    const char *name;
    const ImgOption *options;
    const char *operands;
    unsigned min, max;         /* how many */
    const char *expect;        /* what is said when there are others */
    int (*run)(const struct ImgCommand *command, int argc, char **argv);
    bool last_is_size;         /* the last operand may look like an option ("-1G") */
} ImgCommand;

#define OPTION_OBJECT                                                                         \
    { 0, "object", "objectdef", IMG_OBJECT, 0,                                                \
      "make an object first, such as secret,id=sec0,file=NAME" }
#define OPTION_IMAGE_OPTS(type, field)                                                        \
    { 0, "image-opts", NULL, IMG_FLAG, offsetof(type, field.image_opts),                      \
      "the file name is a list of options (driver=qcow2,file.filename=...)" }
#define OPTION_FORMAT(type, field)                                                            \
    { 'f', "format", "fmt", IMG_TEXT, offsetof(type, field.format),                           \
      "format of the image; guessed when not given" }
#define OPTION_SHARE(type, field)                                                             \
    { 'U', "force-share", NULL, IMG_FLAG, offsetof(type, field.force_share),                  \
      "open it although another process writes to it" }
#define OPTION_CACHE(letter, type, field, what)                                               \
    { letter, NULL, #what, IMG_TEXT, offsetof(type, field.cache),                             \
      "cache mode: none, writeback, writethrough, directsync, unsafe" }
#define OPTION_QUIET(type, field)                                                             \
    { 'q', "quiet", NULL, IMG_FLAG, offsetof(type, field), "print nothing but errors" }
#define OPTION_PROGRESS(type, field)                                                          \
    { 'p', "progress", NULL, IMG_FLAG, offsetof(type, field), "show the progress" }
#define OPTION_OUTPUT(type, field)                                                            \
    { 0, "output", "ofmt", IMG_OUTPUT, offsetof(type, field), "human or json" }
#define OPTION_END { .kind = IMG_FLAG }

/*
 * Parses into ARGS; afterwards *ARGC and *ARGV are the operands alone.  Negative: go on; else the
 * exit status (help was asked for, or an error has been reported).
 */
int img_parse(const ImgCommand *command, void *args, int *argc, char ***argv);
/* "name [options] operands", as in the list of commands. */
char *img_usage(const ImgCommand *command);

#endif
