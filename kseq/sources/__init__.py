"""What people bring: one module for each form in which image collections lie around, and what these modules share.

Reads images and their targets where they lie. Imports `kseq.storage`, `kseq.images` and what is below, never
`kseq.reading`.

To add a source, write a module with a subclass of `Source` (in `base`) and a `SourceFormat` (in `source_format`), and add
that to the list in `formats`, which loads each when it is asked for and gives the command its choices; `registry` finds the
format of a path.

- Images in files: `folder`, `zip_archive`, `table`, `image_folder` (images with `metadata.csv`; `object_cells`), `celeba`,
  `imagenet`, `label_lists` (text files of paths and labels), `benchmarks` (other well-known collections, by `benchmark_lists`).
- Boxes: `coco`, `coco_folder` (several of its files), `cvat` (and `cvat_tracks`), `dota`, `labelme`, `labelstudio`, `via`
  (and `via3`), `voc`, `yolo`, `run_length_tables` (CSV files of masks), `box_tables` (CSV files of boxes, in
  `box_dialects`), `tool_json` (JSON of further tools, in `tool_dialects`).
- Records: `webdataset`, `tfrecord`, `arrayrecord`, `huggingface`, `parquet` (and
  `described_columns`), `lmdb_files` (and `caffe_datum`).
- Pixels: `arrays`, `idx` (MNIST's files), `cifar` (its binary version, and STL-10's), `pixel_rows` (CSV files of pixels, in
  `pixel_tables`), `iterables`, `hub_datasets` (objects of the packages `datasets` and torchvision).
- Of YOLO: `yolo_pairs` (which text file goes with which image), `yolo_text` (its lines), `yolo_config` (classes and splits).
- Of COCO: `coco_keypoints`, `coco_panoptic`. `point_names`: which keypoints are left and right. `object_masks`: masks of
  outlined objects, `masked_source`: sources that have them. `object_pngs`: a PNG for each object.
- Masks in files: `mask_folders` (images and masks of the same names), `mask_pairs` (which goes with which), `mask_names` (what
  people call them).
- `listing`: the names in a folder or a zip, by which all formats are told. What is no tree of class folders: `layouts`,
  `beside_images` (masks, pairs, tables), `no_classes` (folders that are called like none), `tool_layouts` (known tools that
  are not read).
- What a sample holds: `column_roles` (which column is what: `kseq.Columns`), `cell_types` (what a cell may say),
  `list_cells` (cells of several values), `written_numbers` (decimal commas, thousands, units), `assemble` (from columns to
  samples), `kept_elements` (boxes and labels of classes that are left out).
- Splits and classes: `split_names` (what people call splits), `class_names` (their forms and order), `class_numbers` (of
  labels), `class_folders` (which folders are which), `path_labels` (labels in names of files), `folder_notes` and
  `side_files` (what may be meant otherwise).
- Tables: `table_files` (CSV, JSON Lines, Parquet), `split_tables` (one in the folder of each split), `told_columns` (columns
  under unusual names, and of 0 and 1), `row_numbers` (columns that number the rows), `named_files` (files whose names are
  spelled otherwise), `box_rows` (a row for each box).
- Annotation tools: `annotated_images` and `stated_sizes` (what their formats share), `labelled_images` (without boxes),
  `labelstudio_tasks` (CSV exports, choices), `shape_outlines` (rectangles, ellipses, polygons), `run_lengths` (masks of COCO
  and CVAT), `brush_masks` (those of Label Studio), `json_files` and `xml_files` (their files).
- Millions of samples: `image_table` (all samples of a source, column by column), `spooled_column` (a column in memory or in a
  file), `value_blocks` (values as a few arrays), `equal_values` (which names and groups are equal).
- URLs: `outline` (files at a URL as a folder of this machine), `url_files` (image files that are read in place).
- Zips: `zip_members` (their names and bytes). Tars: `tar_samples`, `tar_members`. Both: `archive_members`, `archive_outline`
  (annotations and tables in an archive, opened as a folder). `wrong_files` (files that are not what their names say).
- Files: `file_sets` (one file, a folder of files, a pattern), `compressed` (files that are unpacked first), `file_reading`,
  `kept_open` (for the next call, by process),
  `folder_tree`, `named_tree` (of the names in an archive), `tree_files` (all files of a folder or a zip), `symlinks`, `text`
  (encodings), `flat_images` (plain bytes of images of one size), `array_files` (`.npz`, `.npy`, HDF5), `arrow_files`,
  `tf_example` (records of both TensorFlow formats).
- Of such records: `example_message` (`tf.train.Example`), `record_layout` (which feature holds what), `record_boxes`,
  `record_classes` (names and order of classes), `label_files` (files beside records that name classes).
"""
