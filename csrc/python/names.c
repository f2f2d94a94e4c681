/* Direct-mapped by the object's address. Programs name their scopes by literals, so
 * almost every look ends at the first compare; entries die with the generation, since a
 * forked child has a table of its own.
 */
#include "python/names.h"

enum { SLOTS = 256 };

typedef struct slot {
    PyObject *name; /* Owned */
    uint32_t id;
    uint32_t generation;
} slot;

static slot slots[SLOTS];

static int find_slowly(PyObject *name, slot *entry, uint32_t generation, cirron_buffer *scratch,
                       cirron_name_ref *ref) {
    cirron_utf8 text;
    int status = CIRRON_NO_MEMORY;
    if (PyUnicode_Check(name)) { /* a scope made while disabled may be named by anything */
        status = cirron_text_get(name, CIRRON_MAX_NAME_BYTES, scratch, &text);
    }
    cirron_process *process = status == CIRRON_OK ? cirron_process_get() : NULL;
    if (process == NULL) {
        return CIRRON_NO_MEMORY;
    }
    uint32_t id = cirron_intern_name(process->collector.names, text.data, text.len);
    if (id == CIRRON_NAME_INLINE) {
        *ref = (cirron_name_ref){id, (uint32_t)text.len, text.data};
        return CIRRON_OK;
    }
    *ref = (cirron_name_ref){.id = id, .text = ""};
    if (!PyUnicode_CheckExact(name)) {
        return CIRRON_OK; /* a subclass is an object of the user's, with a life of its own */
    }
    PyObject *before = entry->name;
    Py_INCREF(name);
    *entry = (slot){name, id, generation};
    Py_XDECREF(before);
    return CIRRON_OK;
}

int cirron_name_find(PyObject *name, uint32_t generation, cirron_buffer *scratch,
                     cirron_name_ref *ref) {
    slot *entry = &slots[((uintptr_t)name >> 4) % SLOTS];
    if (__builtin_expect(entry->name == name && entry->generation == generation, 1)) {
        *ref = (cirron_name_ref){.id = entry->id, .text = ""};
        return CIRRON_OK;
    }
    return find_slowly(name, entry, generation, scratch, ref);
}
