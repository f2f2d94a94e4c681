/* In place of libFuzzer where there is none: runs a target on the files of its corpus. */
#include <dirent.h>

#include "fuzz.h"

static void run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(size); /* of exactly its size, for the sanitizer to see */
    CHECK((data != NULL || size == 0) && fread(data, 1, size, file) == size);
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last one is the one that failed */
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv) {
    int ran = 0;
    DIR *corpus = argc == 2 ? opendir(argv[1]) : NULL;
    const struct dirent *entry;
    while (corpus != NULL && (entry = readdir(corpus)) != NULL) {
        char path[4096];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
            run_file(path);
            ran++;
        }
    }
    if (corpus != NULL) {
        closedir(corpus);
    }
    return ran > 0 ? 0 : 1;
}
