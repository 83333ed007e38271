/* Feeds files to a fuzz target, each once: `make fuzz-replay` runs every corpus this way in the ordinary test
 * run, with any compiler and no libFuzzer. Arguments are folders (their regular files, in order of name) or
 * files. Knows nothing of what a target does.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int complain(const char *path, const char *problem)
{
    fprintf(stderr, "replay: %s: %s\n", path, problem);
    return -1;
}

/* Returns the number of inputs, or -1. The copy is of exactly the file's size, so that sanitizers see reads
 * beyond it. */
static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    if (f == NULL || data == NULL || fread(data, 1, size, f) != size) {
        complain(path, f == NULL ? strerror(errno) : "cannot be read whole");
        free(data);
        if (f != NULL)
            fclose(f);
        return -1;
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static int replay_entry(const char *folder, const char *name)
{
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return complain(folder, "a path in it is too long");
    if (stat(path, &st) < 0)
        return complain(path, strerror(errno));
    return S_ISREG(st.st_mode) ? replay_file(path, (size_t)st.st_size) : 0;
}

static int replay_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    int inputs = 0;
    if (count < 0)
        return complain(folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        int n = inputs < 0 ? 0 : replay_entry(folder, entries[i]->d_name);
        inputs = n < 0 ? -1 : inputs + n;
        free(entries[i]);
    }
    free(entries);
    return inputs == 0 ? complain(folder, "holds no input") : inputs;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    int inputs = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER|FILE...\n", argv[0]);
        return EXIT_FAILURE;
    }
    for (int i = 1; i < argc; i++) {
        struct stat st;
        int n;
        if (stat(argv[i], &st) < 0)
            n = complain(argv[i], strerror(errno));
        else
            n = S_ISDIR(st.st_mode) ? replay_folder(argv[i]) : replay_file(argv[i], (size_t)st.st_size);
        if (n < 0)
            return EXIT_FAILURE;
        inputs += n;
    }
    printf("replayed %d inputs: %s\n", inputs, slash != NULL ? slash + 1 : argv[0]);
    return EXIT_SUCCESS;
}
