/* What a scope and a mark cost on this machine, for the overhead that spans carry. */
#ifndef CIRRON_PYTHON_CALIBRATION_H
#define CIRRON_PYTHON_CALIBRATION_H

/* Measures both, the best of a few short runs, and keeps them in cirron_the_recording.
 * Nothing is recorded. 0, or -1 with an exception. Needs the GIL. */
int cirron_calibrate(void);

#endif
