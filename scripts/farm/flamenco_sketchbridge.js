// A Flamenco job type: a batch of sketches, so many items a task, on the workers of Blender's own farm manager.
//
// Put this file into the folder `scripts` beside flamenco-manager, and add a variable `sketchbridge` to flamenco-manager.yaml: the path
// of the engine's command on the workers. The workers must see job file, sketches and results under the same paths. See docs/batch.md.

const JOB_TYPE = {
    label: "Sketchbridge Batch",
    description: "Refine and texture the sketches of a job file",
    settings: [
        { key: "jobs", type: "string", subtype: "file_path", required: true, visible: "submission",
          description: "The job file (.toml)" },
        { key: "out", type: "string", subtype: "dir_path", required: true, visible: "submission",
          description: "Folder for the results, or a URL such as s3://BUCKET/PATH" },
        { key: "items", type: "int32", required: true, default: 1, visible: "submission",
          description: "Items of the job file; `sketchbridge batch JOBS.toml --out DIR --check` counts them" },
        { key: "chunk_size", type: "int32", default: 4, visible: "submission",
          description: "Items a task: the model is loaded once for each" },
        { key: "workers", type: "int32", default: 1, visible: "submission",
          description: "Processes that a task runs at a time on its machine" },
        { key: "blender", type: "bool", default: false, visible: "submission",
          description: "The job file names .blend or .fbx files, or the outputs blend or usd" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    if (!(settings.items >= 1) || !(settings.chunk_size >= 1)) {
        throw "Items and chunk size must be 1 or more; got " + settings.items + " and " + settings.chunk_size;
    }
    const report = author.Task("gallery", "misc");
    report.addCommand(batch(settings, ["--report"]));
    for (let first = 1; first <= settings.items; first += settings.chunk_size) {
        const range = first + "-" + Math.min(first + settings.chunk_size - 1, settings.items);
        const task = author.Task("items " + range, "misc");
        task.addCommand(batch(settings, ["--items", range, "--resume", "--workers", String(settings.workers)]));
        job.addTask(task);
        report.addDependency(task);
    }
    job.addTask(report);
}

// A run of the engine's command.
function batch(settings, words) {
    const blender = settings.blender ? ["--blender", "{blender}"] : [];
    return author.Command("exec", {
        exe: "{sketchbridge}",
        args: ["batch", settings.jobs, "--out", settings.out].concat(words, blender),
    });
}
