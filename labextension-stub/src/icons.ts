import { LabIcon } from '@jupyterlab/ui-components';
import executionSvg from '../style/icons/execution.svg';

/** A play triangle inside a clock: run in the background. */
export const executionIcon = new LabIcon({
  name: 'jupyter-exec-ext:execution',
  svgstr: executionSvg
});
